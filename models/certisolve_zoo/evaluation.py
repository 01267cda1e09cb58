"""Errors of a model, and how much an answer depends on its batch."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from certisolve.manifest import ValidatedResolution
from certisolve_export import measurement
from certisolve_export.measurement import sample_errors as sample_errors

from .data import Samples
from .spec import ModelSpec

NUM_UNSEEN = 256
# Answers of some models are trajectories: so many at once fit into memory and cache.
CHUNK = 64


def measure_errors(
    model: nn.Module, spec: ModelSpec, cache: Path, num_samples: int = NUM_UNSEEN
) -> tuple[ValidatedResolution, ...]:
    """Mean and worst error on unseen samples at every resolution."""
    return tuple(
        _measured(model, spec, samples, sizes)
        for sizes, samples in zip(spec.resolutions, spec.unseen(num_samples, cache), strict=True)
    )


def answer(model: nn.Module, spec: ModelSpec, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """All outputs of the model, as the server gives them."""
    with torch.inference_mode():
        predicted = spec.predict(model, *inputs)
    return predicted if isinstance(predicted, tuple) else (predicted,)


def batch_deviation(
    model: nn.Module, spec: ModelSpec, examples: Sequence[Sequence[Tensor]]
) -> float:
    """Largest relative L2 difference between an answer alone and in batches of 2, 3 and 8.

    Args:
        model: the trained network.
        spec: how it answers.
        examples: inputs with a batch of 8 at least, one entry per resolution.
    """
    names = [output.name for output in spec.outputs]
    fields = {each.deviation: each.output for each in spec.postprocess(model)}
    return measurement.batch_deviation(
        lambda inputs: answer(model, spec, inputs),
        examples,
        yardsticks=[names.index(fields.get(name, name)) for name in names],
    )


def _measured(
    model: nn.Module, spec: ModelSpec, samples: Samples, sizes: dict[str, int]
) -> ValidatedResolution:
    chunks = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    prediction = torch.cat([answer(model, spec, chunk.inputs)[0] for chunk in chunks])
    errors = sample_errors(prediction, samples.target, spec.metric)
    return ValidatedResolution(
        sizes=sizes,
        error=float(f"{errors.mean():.4g}"),
        worst_error=float(f"{errors.max():.4g}"),
        metric=spec.metric,
        num_samples=len(samples),
        t=spec.error_times,
        error_at_t=_errors_at_times(prediction, samples.target, spec),
    )


def _errors_at_times(prediction: Tensor, target: Tensor, spec: ModelSpec) -> tuple[float, ...]:
    errors = []
    for time in spec.error_times:
        frame = spec.t.index(time)
        at_time = sample_errors(prediction[:, frame], target[:, frame], spec.metric)
        errors.append(float(f"{at_time.mean():.4g}"))
    return tuple(errors)


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
