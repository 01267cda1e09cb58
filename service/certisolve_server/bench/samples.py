"""Random requests that a model's manifest admits; pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certisolve import Manifest
from certisolve.manifest import TensorSpec
from certisolve.wire import DTYPES

from .door import SolveInputs

#: Points on axes whose length the caller chooses, unless told otherwise.
_NUM_POINTS = 256
#: Cosine modes along each axis: smooth enough for a field of any of the models.
_NUM_MODES = 4
#: Share of the admitted range that fields fill, so that rounding never leaves it.
_FILL = 0.9


def draw_inputs(
    manifest: Manifest, sizes: Mapping[str, int], rng: np.random.Generator
) -> SolveInputs:
    """Smooth fields and parameters within the ranges of the manifest.

    Args:
        manifest: of the model to be asked.
        sizes: of axes by name; those left out are as in the first validated resolution.
        rng: source of everything random.

    Raises:
        ValueError: `sizes` names an axis that the model does not have, or a fixed one.
    """
    sizes = _all_sizes(manifest, sizes)
    arrays = {spec.name: _draw(spec, sizes, rng) for spec in manifest.inputs}
    parameters = {
        spec.name: float(rng.uniform(spec.minimum, spec.maximum)) for spec in manifest.parameters
    }
    return SolveInputs(arrays, parameters)


def _all_sizes(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, int]:
    free = [name for name, axis in manifest.axes.items() if axis.kind != "channel"]
    unknown = sorted(sizes.keys() - set(free))
    if unknown:
        raise ValueError(f"resolution: {manifest.name} has {', '.join(free)}, not {unknown[0]}")
    chosen = {name: axis.size or 1 for name, axis in manifest.axes.items() if name not in free}
    for name in free:
        axis = manifest.axes[name]
        most = _NUM_POINTS if axis.maximum is None else min(_NUM_POINTS, axis.maximum)
        chosen[name] = max(axis.minimum, most)
    return {**chosen, **manifest.resolutions[0].sizes, **sizes}


def _draw(spec: TensorSpec, sizes: Mapping[str, int], rng: np.random.Generator) -> NDArray[Any]:
    smooth = _smooth([sizes[axis] for axis in spec.axes], rng)
    return _fit(spec, smooth).astype(DTYPES[spec.dtype])


def _fit(spec: TensorSpec, smooth: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field in [-1, 1], made to obey the limits of an input."""
    if spec.values:
        phases = np.linspace(-1, 1, len(spec.values) + 1)[1:-1]
        values = np.array(spec.values, np.float64)
        return values[np.digitize(smooth, phases)]
    low, high = _range(spec)
    if spec.max_abs_mean is None:
        return (low + high) / 2 + _FILL * (high - low) / 2 * smooth
    centred = smooth - smooth.mean()
    largest = max(1.0, float(np.abs(centred).max()))
    return np.asarray(min(-low, high) * _FILL / largest * centred)


def _smooth(shape: list[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """A random sum of cosines, scaled to a largest absolute value of 1."""
    field = rng.standard_normal([_NUM_MODES] * len(shape))
    for size in shape:
        waves = np.cos(2 * np.pi * np.outer(np.arange(_NUM_MODES), np.arange(size) / size))
        # Contracts the first axis and appends the new one: in the end all are in order again.
        field = np.tensordot(field, waves, axes=(0, 0))
    return np.asarray(field / np.abs(field).max())


def _range(spec: TensorSpec) -> tuple[float, float]:
    low, high = spec.minimum, spec.maximum
    if low is None:
        return (-1.0, 1.0) if high is None else (high - 2.0, high)
    return low, low + 2.0 if high is None else high
