"""Pictures of a request and its answer: lines in 1-D, images in 2-D, points as a scatter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.text import Text

from certisolve import Manifest, Solution
from certisolve.manifest import TensorSpec

from .solve import error_bar

Array = NDArray[Any]

_PANEL_INCHES = (4.6, 3.8)
_DPI = 140


class _Panel(NamedTuple):
    """A tensor without its channel axis."""

    title: str
    units: str
    axes: tuple[str, ...]
    values: Array


def draw(path: Path, solution: Solution, manifest: Manifest, inputs: Mapping[str, Array]) -> None:
    """Draw inputs and fields side by side.

    Args:
        path: whose suffix is the picture's format.
        solution: what came back.
        manifest: of the model that computed it.
        inputs: what was sent.

    Raises:
        ValueError: an unknown format, or a field of more than two dimensions.
    """
    sent = _panels(manifest, manifest.inputs, inputs)
    received = _panels(manifest, manifest.outputs, solution.fields)
    if _is_points(manifest):
        figure = _scatters(manifest, sent, received)
    else:
        figure = _fields([*sent, *received], solution, manifest)
    caption = Text.from_markup(error_bar(solution, manifest)).plain
    figure.suptitle(f"{manifest.title}\nerror: {caption}", fontsize=8)
    figure.savefig(path, dpi=_DPI)


def _is_points(manifest: Manifest) -> bool:
    return not manifest.grid_axes


def _panels(
    manifest: Manifest, specs: Sequence[TensorSpec], arrays: Mapping[str, Array]
) -> list[_Panel]:
    return [panel for spec in specs for panel in _split(manifest, spec, arrays[spec.name])]


def _split(manifest: Manifest, spec: TensorSpec, array: Array) -> list[_Panel]:
    """A panel per channel."""
    channels = [name for name in spec.axes if manifest.axes[name].kind == "channel"]
    if not channels:
        return [_Panel(spec.name, spec.units, spec.axes, array)]
    first = channels[0]
    axes = tuple(name for name in spec.axes if name != first)
    slices = np.moveaxis(np.asarray(array), spec.axes.index(first), 0)
    labels = manifest.axes[first].labels or tuple(str(i) for i in range(len(slices)))
    return [
        _Panel(f"{spec.name}: {label}", spec.units, axes, values)
        for label, values in zip(labels, slices, strict=True)
    ]


def _fields(panels: Sequence[_Panel], solution: Solution, manifest: Manifest) -> Figure:
    figure, places = _subplots(len(panels))
    for place, panel in zip(places, panels, strict=True):
        match len(panel.axes):
            case 1:
                _line(place, panel, solution, manifest)
            case 2:
                _image(figure, place, panel, manifest)
            case more:
                raise ValueError(f"--plot draws fields of 1 or 2 axes; {panel.title} has {more}")
        place.set_title(panel.title)
    return figure


def _line(place: Axes, panel: _Panel, solution: Solution, manifest: Manifest) -> None:
    [axis] = panel.axes
    place.plot(solution.coords[axis], panel.values, linewidth=1.2)
    place.set_xlabel(_labelled(axis, manifest.axes[axis].units))
    place.set_ylabel(_labelled(panel.title, panel.units))
    place.grid(alpha=0.3)


def _image(figure: Figure, place: Axes, panel: _Panel, manifest: Manifest) -> None:
    vertical, horizontal = (manifest.axes[name] for name in panel.axes)
    image = place.imshow(
        np.asarray(panel.values, np.float64),
        origin="lower",
        extent=(
            horizontal.lower or 0.0,
            1.0 if horizontal.upper is None else horizontal.upper,
            vertical.lower or 0.0,
            1.0 if vertical.upper is None else vertical.upper,
        ),
    )
    place.set_ylabel(_labelled(panel.axes[0], vertical.units))
    place.set_xlabel(_labelled(panel.axes[1], horizontal.units))
    figure.colorbar(image, ax=place, label=_labelled(panel.title, panel.units))


def _scatters(manifest: Manifest, sent: Sequence[_Panel], received: Sequence[_Panel]) -> Figure:
    """Each output over the points: in the plane of two inputs, else over the first."""
    figure, places = _subplots(len(received))
    for place, panel in zip(places, received, strict=True):
        place.set_xlabel(_labelled(sent[0].title, sent[0].units))
        if len(sent) == 1:
            place.scatter(sent[0].values, panel.values, s=9)
            place.set_ylabel(_labelled(panel.title, panel.units))
            continue
        dots = place.scatter(sent[0].values, sent[1].values, c=panel.values, s=16)
        place.set_ylabel(_labelled(sent[1].title, sent[1].units))
        figure.colorbar(dots, ax=place, label=_labelled(panel.title, panel.units))
    return figure


def _subplots(count: int) -> tuple[Figure, list[Axes]]:
    # Without pyplot: no display, no global state.
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _labelled(name: str, units: str) -> str:
    return name if units in ("", "1") else f"{name} ({units})"
