"""Pictures of a request and its answer: lines in 1-D, images in 2-D, points as a scatter.

A line that moves is an image over time, a plane that moves is shown at three times.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.text import Text

from certisolve import Manifest, Solution

from .solve import error_bar

Array = NDArray[Any]

_PANEL_INCHES = (4.6, 3.8)
_DPI = 140
_TIME = "t"
#: Fewer values along a line are marked one by one.
_FEW = 40


class _Panel(NamedTuple):
    """A tensor without its channel axis, at one time if it is a plane that moves."""

    title: str
    units: str
    axes: tuple[str, ...]
    values: Array


class _Axis(NamedTuple):
    """Where the values along one axis lie."""

    name: str
    units: str
    values: Array


class _Scene(NamedTuple):
    """All that a picture shows."""

    solution: Solution
    manifest: Manifest
    sent: Sequence[_Panel]
    received: Sequence[_Panel]


def draw(
    path: Path,
    solution: Solution,
    manifest: Manifest,
    inputs: Mapping[str, Array],
    *,
    caption: str | None = None,
) -> None:
    """Draw inputs and fields side by side.

    Args:
        path: whose suffix is the picture's format.
        solution: what came back.
        manifest: of the model that computed it.
        inputs: what was sent.
        caption: below the title; None for how far to trust the solution.

    Raises:
        ValueError: an unknown format, or a field of more than two dimensions.
    """
    taken = _panels(manifest, {spec.name: spec.axes for spec in manifest.inputs}, inputs)
    # Single numbers, as at the start of a trajectory, say more in words.
    sent = [panel for panel in taken if panel.axes]
    received = _panels(manifest, solution.axes, solution.fields)
    moving = [each for panel in received for each in _frames(panel, solution)]
    scene = _Scene(solution, manifest, sent, moving)
    figure = _draw_all(scene)
    trust = f"error: {Text.from_markup(error_bar(solution, manifest)).plain}"
    figure.suptitle(f"{manifest.title}\n{trust if caption is None else caption}", fontsize=8)
    figure.savefig(path, dpi=_DPI)


def _panels(
    manifest: Manifest, axes: Mapping[str, tuple[str, ...]], arrays: Mapping[str, Array]
) -> list[_Panel]:
    units = {spec.name: spec.units for spec in (*manifest.inputs, *manifest.outputs)}
    return [
        panel
        for name in axes
        for panel in _split(manifest, _Panel(name, units[name], axes[name], arrays[name]))
    ]


def _split(manifest: Manifest, panel: _Panel) -> list[_Panel]:
    """A panel per channel."""
    kinds = {name: axis.kind for name, axis in manifest.axes.items()}
    channels = [name for name in panel.axes if kinds.get(name) == "channel"]
    if not channels:
        return [panel]
    first = channels[0]
    axes = tuple(name for name in panel.axes if name != first)
    slices = np.moveaxis(np.asarray(panel.values), panel.axes.index(first), 0)
    labels = manifest.axes[first].labels or tuple(str(i) for i in range(len(slices)))
    return [
        _Panel(f"{panel.title}: {label}", panel.units, axes, values)
        for label, values in zip(labels, slices, strict=True)
    ]


def _frames(panel: _Panel, solution: Solution) -> list[_Panel]:
    """Of a plane that moves the first, the middle and the last frame."""
    if panel.axes[:1] != (_TIME,) or len(panel.axes) != 3:
        return [panel]
    count = len(panel.values)
    return [
        _Panel(
            f"{panel.title}, t = {solution.t[index]:g}",
            panel.units,
            panel.axes[1:],
            panel.values[index],
        )
        for index in sorted({0, count // 2, count - 1})
    ]


def _draw_all(scene: _Scene) -> Figure:
    points = _points(scene)
    shown = [panel for panel in (*scene.sent, *scene.received) if panel.title not in points]
    figure, places = _subplots(len(shown))
    for place, panel in zip(places, shown, strict=True):
        place.set_title(panel.title)
        if points and set(panel.axes) & set(next(iter(points.values())).axes):
            _scatter(figure, place, panel, list(points.values()))
        else:
            _draw_field(figure, place, panel, scene)
    return figure


def _points(scene: _Scene) -> dict[str, _Panel]:
    """Inputs that are coordinates of points, by name, at most two; a history is not one."""
    if scene.manifest.advances:
        return {}
    kinds = {name: axis.kind for name, axis in scene.manifest.axes.items()}
    places = [panel for panel in scene.sent if [kinds[axis] for axis in panel.axes] == ["points"]]
    return {panel.title: panel for panel in places[:2]}


def _draw_field(figure: Figure, place: Axes, panel: _Panel, scene: _Scene) -> None:
    axes = [
        _axis(name, size, scene) for name, size in zip(panel.axes, panel.values.shape, strict=True)
    ]
    match axes:
        case [axis]:
            style = "o-" if len(axis.values) < _FEW else "-"
            place.plot(axis.values, panel.values, style, linewidth=1.2, markersize=3)
            place.set_xlabel(_labelled(axis.name, axis.units))
            place.set_ylabel(_labelled(panel.title, panel.units))
            place.grid(alpha=0.3)
        case [vertical, horizontal]:
            _image(figure, place, panel, vertical, horizontal)
        case more:
            raise ValueError(f"--plot draws fields of 1 or 2 axes; {panel.title} has {len(more)}")


def _axis(name: str, size: int, scene: _Scene) -> _Axis:
    if name == _TIME:
        return _Axis(name, "1", scene.solution.t)
    axis, stepping = scene.manifest.axes[name], scene.manifest.stepping
    if axis.kind == "points" and stepping is not None:  # a history, which ends now
        return _Axis(_TIME, axis.units, (np.arange(size) - size + 1) * stepping.dt)
    return _Axis(name, axis.units, scene.solution.coords.get(name, np.arange(size)))


def _image(figure: Figure, place: Axes, panel: _Panel, vertical: _Axis, horizontal: _Axis) -> None:
    image = place.pcolormesh(
        horizontal.values,
        vertical.values,
        np.asarray(panel.values, np.float64),
        shading="nearest",
    )
    if vertical.name != _TIME:
        place.set_aspect("equal")
    place.set_ylabel(_labelled(vertical.name, vertical.units))
    place.set_xlabel(_labelled(horizontal.name, horizontal.units))
    figure.colorbar(image, ax=place, label=_labelled(panel.title, panel.units))


def _scatter(figure: Figure, place: Axes, panel: _Panel, points: Sequence[_Panel]) -> None:
    """Values over the points: in the plane of two inputs, else over the first."""
    place.set_xlabel(_labelled(points[0].title, points[0].units))
    if len(points) == 1:
        place.scatter(points[0].values, panel.values, s=9)
        place.set_ylabel(_labelled(panel.title, panel.units))
        return
    dots = place.scatter(points[0].values, points[1].values, c=panel.values, s=16)
    place.set_ylabel(_labelled(points[1].title, points[1].units))
    figure.colorbar(dots, ax=place, label=_labelled(panel.title, panel.units))


def _subplots(count: int) -> tuple[Figure, list[Axes]]:
    # Without pyplot: no display, no global state.
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _labelled(name: str, units: str) -> str:
    return name if units in ("", "1") else f"{name} ({units})"
