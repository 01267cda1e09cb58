"""Errors of a model, measured on unseen problems whose answers are known."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from certisolve.manifest import Manifest, ValidatedResolution

from .answers import Program, answer
from .errors import NotMeasured, SampleError
from .layout import golden_case
from .measurement import sample_errors
from .samples import Samples, arguments, sizes_of

#: Samples that are measured at once.
_CHUNK = 64


def check_measured(draft: Manifest, reference: Sequence[Samples], *, unmeasured: bool) -> None:
    """Refuse a model of which nobody knows the error.

    Raises:
        NotMeasured: naming the resolution.
        SampleError: reference samples hold no answers, or lie at no listed resolution.
    """
    listed = [resolution.sizes for resolution in draft.resolutions]
    known = [_answered(samples, draft) for samples in reference]
    for sizes in known:
        if sizes not in listed:
            raise SampleError(
                f"reference: samples at {golden_case(sizes)}, which the manifest does not list",
                "add the sizes to resolutions",
            )
    for resolution in draft.resolutions:
        if resolution.error is None and resolution.sizes not in known and not unmeasured:
            raise NotMeasured(
                f"resolutions: no error is known at {golden_case(resolution.sizes)}, and answers "
                "without one are worth little",
                "write error, worst_error, metric and num_samples into the manifest, or pass "
                "unseen problems with their answers (--reference), or export with --unmeasured, "
                "and every answer will say so",
            )


def measured(
    program: Program, draft: Manifest, reference: Sequence[Samples]
) -> tuple[ValidatedResolution, ...]:
    """The resolutions of the draft, with the errors on reference samples where there are any."""
    known = {golden_case(sizes_of(samples, draft)): samples for samples in reference}
    return tuple(
        _measure(program, draft, resolution, known[golden_case(resolution.sizes)])
        if golden_case(resolution.sizes) in known
        else resolution
        for resolution in draft.resolutions
    )


def _measure(
    program: Program, draft: Manifest, resolution: ValidatedResolution, samples: Samples
) -> ValidatedResolution:
    inputs = arguments(samples, draft)
    count = len(inputs[0])
    size = min(_CHUNK, draft.max_batch_size)
    chunks = [
        answer(program, draft, [tensor[start : start + size] for tensor in inputs])
        for start in range(0, count, size)
    ]
    outputs = [torch.cat(parts) for parts in zip(*chunks, strict=True)]
    targets = [
        _target(samples, spec.name, out) for spec, out in zip(draft.outputs, outputs, strict=True)
    ]
    # Of several outputs the worst: no average over fields of different meaning.
    errors = torch.stack(
        [sample_errors(o, t, resolution.metric) for o, t in zip(outputs, targets, strict=True)]
    ).amax(dim=0)
    if not errors.isfinite().all():
        raise SampleError(
            "reference: an answer is zero, or not finite, and has no relative error",
            'mend it, or choose the metric "rmse"',
        )
    return dataclasses.replace(
        resolution,
        error=float(f"{errors.mean():.4g}"),
        worst_error=float(f"{errors.max():.4g}"),
        num_samples=count,
        t=draft.t if draft.stepping else (),
        error_at_t=_errors_at_times(outputs, targets, draft, resolution),
    )


def _errors_at_times(
    outputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    draft: Manifest,
    resolution: ValidatedResolution,
) -> tuple[float, ...]:
    if draft.stepping is None:
        return ()
    pairs = list(zip(outputs, targets, strict=True))
    return tuple(
        float(f"{torch.stack([_mean(o[:, i], t[:, i], resolution) for o, t in pairs]).max():.4g}")
        for i in range(len(draft.t))
    )


def _mean(output: Tensor, target: Tensor, resolution: ValidatedResolution) -> Tensor:
    return sample_errors(output, target, resolution.metric).mean()


def _target(samples: Samples, name: str, output: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(samples.outputs[name])).to(output.dtype)


def _answered(samples: Samples, draft: Manifest) -> dict[str, int]:
    if not samples.outputs:
        raise SampleError("reference: no answers", "add tensors outputs/<name>")
    return sizes_of(samples, draft)
