"""The training loop that every model uses, from Adam on operators to L-BFGS on splines."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from certisolve_export.measurement import relative_l2 as relative_l2

from .data import Samples

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TrainingRun:
    """Where a run writes, how long it goes on, and how it reports.

    Attributes:
        name: of the model.
        folder: for the log, checkpoints and cached data.
        seed: of weights, data and order.
        scale: fraction of the full schedule; below 1 for a quick trial.
        console: for the progress bar and a line per epoch.
    """

    name: str
    folder: Path
    seed: int
    scale: float = 1.0
    console: Console = field(default_factory=Console)

    def num_epochs(self, full: int) -> int:
        """How many of the full schedule's epochs this run makes."""
        return max(1, round(full * self.scale))


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    epochs: Iterable[Iterable[Samples]],
    *,
    num_epochs: int,
    loss: Loss,
    run: TrainingRun,
    schedule: LRScheduler | None = None,
) -> None:
    """Train until the epochs are used up, with a log line and a checkpoint after each.

    Args:
        model: trained in place.
        optimizer: over its parameters; line searches may evaluate the loss several times per step.
        epochs: the batches of each epoch, drawn lazily.
        num_epochs: their number, for the progress bar.
        loss: a scalar from prediction and target.
        run: where to write and report.
        schedule: of the learning rate, advanced after each batch.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with _progress(run, num_epochs) as report:
        for batches in epochs:
            losses = []
            for batch in batches:
                losses.append(_step(model, optimizer, batch, loss))
                if schedule is not None:
                    schedule.step()
            report(sum(losses) / len(losses))
            save_file(model.state_dict(), run.folder / f"{run.name}.safetensors")


def _step(model: nn.Module, optimizer: Optimizer, batch: Samples, loss: Loss) -> float:
    def closure() -> float:
        optimizer.zero_grad()
        value = loss(model(*batch.inputs), batch.target)
        value.backward()  # type: ignore[no-untyped-call]  # unannotated in torch
        return value.item()

    return float(optimizer.step(closure))


@contextmanager
def _progress(run: TrainingRun, num_epochs: int) -> Iterator[Callable[[float], None]]:
    """A progress bar, and a callback that advances it and prints the mean loss of the epoch."""
    started = time.monotonic()
    with Progress(console=run.console) as progress:
        task = progress.add_task(run.name, total=num_epochs)

        def report(mean_loss: float) -> None:
            progress.advance(task)
            epoch = int(progress.tasks[0].completed)
            elapsed_s = time.monotonic() - started
            progress.console.print(
                f"model={run.name} epoch={epoch}/{num_epochs} loss={mean_loss:.3e} "
                f"elapsed_s={elapsed_s:.0f}",
                highlight=False,
            )

        yield report
