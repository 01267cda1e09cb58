"""The command line of the zoo: train, evaluate, baselines, build, table, symbols, list."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from safetensors.torch import save_file

from certisolve.manifest import Training, ValidatedResolution

from .artifact import build_artifact
from .baselines import measure_baselines
from .catalog import CATALOG
from .evaluation import hardware, measure_errors
from .records import WEIGHTS, Record, load_model, weights_digest
from .report import BASELINES_BEGIN, ERRORS_BEGIN, baselines_table, errors_table, put_table
from .spec import ModelSpec
from .symbols import READINGS, print_symbols
from .training import TrainingRun

app = typer.Typer(help="Train, measure and export the bundled models.", no_args_is_help=True)
_console = Console()
_MODELS = WEIGHTS.parent
_DOCS = _MODELS.parent / "docs"

Name = Annotated[str, typer.Argument(help="a model, see `list`")]
Names = Annotated[list[str] | None, typer.Argument(help="models; all when none is named")]
Weights = Annotated[Path, typer.Option(help="folder of weights and records")]
Runs = Annotated[Path, typer.Option(help="folder of logs, checkpoints and cached data")]
Docs = Annotated[Path, typer.Option(help="folder of the pages")]
Threads = Annotated[int, typer.Option(help="threads of torch; 0 for one per core")]


@app.command()
def train(
    name: Name,
    weights: Weights = WEIGHTS,
    runs: Runs = _MODELS / "runs",
    scale: Annotated[float, typer.Option(help="fraction of the full schedule")] = 1.0,
    threads: Threads = 0,
) -> None:
    """Train a model, measure its errors, and write weights and record."""
    spec = _spec(name)
    _use_threads(threads)
    torch.manual_seed(spec.seed)
    started = time.monotonic()
    model = spec.train(TrainingRun(name, runs, spec.seed, scale=scale, console=_console))
    duration_s = round(time.monotonic() - started, 1)
    weights.mkdir(parents=True, exist_ok=True)
    save_file(model.eval().state_dict(), weights / f"{name}.safetensors")
    record = Record(
        weights_sha256=weights_digest(weights, name),
        resolutions=_measure(spec, weights, runs),
        training=_training(spec, scale, duration_s),
    )
    record.save(weights, name)


@app.command()
def evaluate(name: Name, weights: Weights = WEIGHTS, runs: Runs = _MODELS / "runs") -> None:
    """Measure the errors of the weights again, on the same unseen samples."""
    spec, record = _spec(name), Record.read(weights, name)
    resolutions, digest = _measure(spec, weights, runs), weights_digest(weights, name)
    # Those of other weights were timed beside other errors.
    baselines = record.baselines if digest == record.weights_sha256 else ()
    measured = dataclasses.replace(
        record, weights_sha256=digest, resolutions=resolutions, baselines=baselines
    )
    measured.save(weights, name)


@app.command()
def baselines(
    names: Names = None,
    weights: Weights = WEIGHTS,
    runs: Runs = _MODELS / "runs",
    threads: Threads = 0,
    docs: Docs = _DOCS,
) -> None:
    """Time the classical solvers beside the models, store both, and write docs/honest-baselines.md.

    Keep the machine idle.
    """
    _use_threads(threads)
    for spec in _specs(names):
        record = Record.load(weights, spec.name)
        rows = measure_baselines(load_model(spec, weights), spec, runs, _console.print)
        dataclasses.replace(record, baselines=rows).save(weights, spec.name)
    put_table(docs / "honest-baselines.md", BASELINES_BEGIN, baselines_table(weights))


@app.command()
def build(
    names: Names = None,
    weights: Weights = WEIGHTS,
    out: Annotated[Path, typer.Option(help="repository of artifacts")] = _MODELS / "artifacts",
    file_format: Annotated[
        Literal["torch.export", "onnx"], typer.Option("--format", help="of the program")
    ] = "torch.export",
) -> None:
    """Export the models that are not up to date."""
    specs = _specs(names)
    with Progress(console=_console) as progress:
        task = progress.add_task("build", total=len(specs))
        for spec in specs:
            folder, built = build_artifact(spec, weights, out, file_format)
            state = "built" if built else "up to date"
            progress.console.print(f"{spec.name}: {state} in {folder}", highlight=False)
            progress.advance(task)


@app.command("table")
def print_table(
    weights: Weights = WEIGHTS,
    docs: Docs = _DOCS,
    write: Annotated[bool, typer.Option("--write", help="put them into the pages")] = False,
) -> None:
    """The tables of docs/models.md and docs/honest-baselines.md, from the records."""
    errors, baselines = errors_table(weights), baselines_table(weights)
    if write:
        put_table(docs / "models.md", ERRORS_BEGIN, errors)
        put_table(docs / "honest-baselines.md", BASELINES_BEGIN, baselines)
    else:
        _console.file.write(f"{errors}\n{baselines}")


@app.command()
def symbols(
    name: Annotated[str, typer.Argument(help="a Kolmogorov-Arnold network")],
    weights: Weights = WEIGHTS,
) -> None:
    """The formula that a network of splines stands for, edge by edge and as a whole."""
    if name not in READINGS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(READINGS)}")
    print_symbols(name, weights, _console)


@app.command("list")
def list_models(weights: Weights = WEIGHTS) -> None:
    """The models and their measured errors."""
    table = Table("model", "resolution", "metric", "mean error", "worst")
    for spec in CATALOG.values():
        for entry in Record.load(weights, spec.name).resolutions:
            sizes = " x ".join(str(size) for size in entry.sizes.values()) or "-"
            errors = f"{entry.error:.3g}", f"{entry.worst_error:.3g}"
            table.add_row(spec.name, sizes, entry.metric, *errors)
    _console.print(table)


def _measure(spec: ModelSpec, weights: Path, runs: Path) -> tuple[ValidatedResolution, ...]:
    resolutions = measure_errors(load_model(spec, weights), spec, runs)
    for entry in resolutions:
        _console.print(f"{spec.name} {entry}", highlight=False)
    return resolutions


def _training(spec: ModelSpec, scale: float, duration_s: float) -> Training:
    recipe = spec.recipe if scale == 1.0 else f"{scale:g} of this schedule: {spec.recipe}"
    return Training(
        data=spec.data,
        recipe=recipe,
        seed=spec.seed,
        duration_s=duration_s,
        hardware=hardware(),
        script=f"python -m certisolve_zoo train {spec.name}",
    )


def _spec(name: str) -> ModelSpec:
    if name not in CATALOG:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(CATALOG)}")
    return CATALOG[name]


def _specs(names: list[str] | None) -> list[ModelSpec]:
    return [_spec(name) for name in names] if names else list(CATALOG.values())


def _use_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
