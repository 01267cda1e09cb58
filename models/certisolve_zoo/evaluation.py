"""Errors of a model, and how much an answer depends on its batch."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from certisolve.manifest import ValidatedResolution

from .data import Samples
from .spec import Metric, ModelSpec
from .training import relative_l2

NUM_UNSEEN = 256
BATCH_SIZES = (2, 3, 8)


def sample_errors(
    prediction: Float[Tensor, "sample ..."], target: Float[Tensor, "sample ..."], metric: Metric
) -> Float[Tensor, " sample"]:
    """The error of each sample, in the metric of the manifest."""
    if metric == "rel_l2":
        return relative_l2(prediction, target)
    return (prediction - target).flatten(1).square().mean(dim=1).sqrt()


def measure_errors(
    model: nn.Module, spec: ModelSpec, cache: Path, num_samples: int = NUM_UNSEEN
) -> tuple[ValidatedResolution, ...]:
    """Mean and worst error on unseen samples at every resolution."""
    return tuple(
        _measured(model, samples, sizes, spec.metric)
        for sizes, samples in zip(spec.resolutions, spec.unseen(num_samples, cache), strict=True)
    )


def _measured(
    model: nn.Module, samples: Samples, sizes: dict[str, int], metric: Metric
) -> ValidatedResolution:
    with torch.inference_mode():
        errors = sample_errors(model(*samples.inputs), samples.target, metric)
    return ValidatedResolution(
        sizes=sizes,
        error=float(f"{errors.mean():.4g}"),
        worst_error=float(f"{errors.max():.4g}"),
        metric=metric,
        num_samples=len(samples),
    )


def batch_deviation(
    program: Callable[..., Tensor], examples: Sequence[tuple[Tensor, ...]]
) -> float:
    """Largest relative L2 difference between an answer alone and in batches of 2, 3 and 8.

    Args:
        program: a batched function.
        examples: inputs with a batch of 8 at least, one entry per resolution.
    """
    worst = 0.0
    for inputs in examples:
        alone = torch.cat([program(*(tensor[i : i + 1] for tensor in inputs)) for i in range(8)])
        for size in BATCH_SIZES:
            together = program(*(tensor[:size] for tensor in inputs))
            worst = max(worst, float(relative_l2(together, alone[:size]).max()))
    return worst


def hardware() -> str:
    """Processor, threads and torch version, for records."""
    threads = torch.get_num_threads()
    counted = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{_processor()}, {counted}, CPU, torch {torch.__version__.split('+')[0]}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
