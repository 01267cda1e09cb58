"""Inputs to try a model on, with or without the answers: drawn, or read from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from certisolve.manifest import Manifest, TensorSpec
from certisolve.wire import DTYPES

from .draft import passed_parameters
from .errors import SampleError

Array = NDArray[Any]
#: Points on axes whose length the caller chooses: unlike any batch or channel count.
_NUM_POINTS = 37
_NUM_MODES = 4
#: Share of the admitted range that drawn fields fill, so that rounding never leaves it.
_FILL = 0.9


class Samples(NamedTuple):
    """Problems at one resolution.

    Attributes:
        inputs: by name, inputs and parameters that the program takes; shapes (sample, ...).
        outputs: the answers that are known, by name; empty for inputs alone. Of models that advance
            in time (sample, t, ...), at the manifest's times.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array] = {}


def read_samples(path: Path) -> list[Samples]:
    """The samples in a safetensors file, per resolution.

    Its tensors are called `inputs/<name>` and `outputs/<name>`; those of several resolutions
    `<any>/inputs/<name>`, one prefix per resolution, as in `golden.safetensors`.

    Raises:
        SampleError: it cannot be read, or its tensors have other names.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SampleError(
            f"{path}: {error}", "write it with safetensors.numpy.save_file"
        ) from error
    cases: dict[str, Samples] = {}
    for key, array in tensors.items():
        match key.split("/"):
            case [*prefix, "inputs" | "outputs" as side, name]:
                samples = cases.setdefault("/".join(prefix), Samples({}, {}))
                getattr(samples, side)[name] = array
            case _:
                raise SampleError(
                    f"{path}: a tensor is called {key!r}", "call it inputs/<name> or outputs/<name>"
                )
    return list(cases.values())


def sizes_of(samples: Samples, manifest: Manifest) -> dict[str, int]:
    """The grid sizes of samples.

    Raises:
        SampleError: inputs are missing, or disagree with their axes or with one another.
    """
    sizes: dict[str, int] = {name: axis.size for name, axis in manifest.axes.items() if axis.size}
    counts = {len(array) for array in (*samples.inputs.values(), *samples.outputs.values())}
    if len(counts) != 1:
        raise SampleError(f"samples: {sorted(counts)} of them", "as many of each tensor")
    for spec in manifest.inputs:
        array = _named(samples.inputs, spec.name)
        _check_sizes(spec, array.shape[1:], sizes)
    steps = ("t",) if manifest.stepping else ()
    for spec in manifest.outputs if samples.outputs else ():
        array = _named(samples.outputs, spec.name)
        _check_sizes(spec, array.shape[1:], {**sizes, "t": len(manifest.t)}, steps)
    return {name: sizes[name] for name in manifest.grid_axes}


def arguments(samples: Samples, manifest: Manifest) -> list[Tensor]:
    """Inputs, then the parameters that the program takes, in the manifest's order and types."""
    fields = [
        torch.from_numpy(np.ascontiguousarray(samples.inputs[spec.name], DTYPES[spec.dtype]))
        for spec in manifest.inputs
    ]
    count = len(fields[0])
    scalars = [
        torch.from_numpy(
            np.asarray(samples.inputs.get(spec.name, np.full(count, spec.default)), np.float32)
        )
        for spec in passed_parameters(manifest)
    ]
    return [*fields, *scalars]


def draw_samples(
    manifest: Manifest, sizes: Mapping[str, int], count: int, rng: np.random.Generator
) -> Samples:
    """Smooth random fields and parameters within the ranges of the manifest."""
    everything = {
        name: axis.size or sizes.get(name) or _num_points(axis.minimum, axis.maximum)
        for name, axis in manifest.axes.items()
    }
    inputs: dict[str, Array] = {
        spec.name: np.stack(
            [
                _fit(spec, _smooth([everything[axis] for axis in spec.axes], rng))
                for _ in range(count)
            ]
        )
        for spec in manifest.inputs
    }
    for spec in passed_parameters(manifest):
        inputs[spec.name] = rng.uniform(spec.minimum, spec.maximum, count)
    return Samples(inputs)


def repeated(samples: Samples, count: int) -> Samples:
    """`count` of the samples, from the first again when there are fewer."""
    return Samples(
        {
            name: np.take(array, range(count), axis=0, mode="wrap")
            for name, array in samples.inputs.items()
        }
    )


def _named(arrays: Mapping[str, Array], name: str) -> Array:
    if name not in arrays:
        raise SampleError(f"samples: {name} is missing", f"they hold {sorted(arrays)}")
    return arrays[name]


def _check_sizes(
    spec: TensorSpec, shape: Sequence[int], sizes: dict[str, int], steps: tuple[str, ...] = ()
) -> None:
    axes = (*steps, *spec.axes)
    expected = ", ".join(("sample", *axes))
    if len(shape) != len(axes):
        raise SampleError(f"samples: {spec.name} has {len(shape) + 1} axes", f"needs ({expected})")
    for axis, size in zip(axes, shape, strict=True):
        if sizes.setdefault(axis, size) != size:
            raise SampleError(
                f"samples: {spec.name} has {size} values along {axis}, others {sizes[axis]}",
                f"give it the shape ({expected})",
            )


def _num_points(minimum: int, maximum: int | None) -> int:
    return max(minimum, _NUM_POINTS if maximum is None else min(_NUM_POINTS, maximum))


def _smooth(shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """A random sum of cosines, scaled to a largest absolute value of 1."""
    field = rng.standard_normal([_NUM_MODES] * len(shape))
    for size in shape:
        waves = np.cos(2 * np.pi * np.outer(np.arange(_NUM_MODES), np.arange(size) / size))
        # Contracts the first axis and appends the new one: in the end all are in order again.
        field = np.tensordot(field, waves, axes=(0, 0))
    return np.asarray(field / np.abs(field).max())


def _fit(spec: TensorSpec, smooth: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field in [-1, 1], made to obey the limits of an input."""
    if spec.values:
        phases = np.linspace(-1, 1, len(spec.values) + 1)[1:-1]
        return np.array(spec.values, np.float64)[np.digitize(smooth, phases)]
    low, high = _range(spec)
    if spec.max_abs_mean is None:
        return (low + high) / 2 + _FILL * (high - low) / 2 * smooth
    centred = smooth - smooth.mean()
    return np.asarray(min(-low, high) * _FILL / max(1.0, np.abs(centred).max()) * centred)


def _range(spec: TensorSpec) -> tuple[float, float]:
    low, high = spec.minimum, spec.maximum
    if low is None:
        return (-1.0, 1.0) if high is None else (high - 2.0, high)
    return low, low + 2.0 if high is None else high
