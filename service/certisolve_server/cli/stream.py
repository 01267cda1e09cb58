"""A solution as it is computed: a line for every frame, and how far it is."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .console import messages, output

if TYPE_CHECKING:
    from certisolve import Client, Frame, Solution


def follow(
    client: "Client", model: str, inputs: Mapping[str, Any], plot: Path | None, **asked: Any
) -> "Solution":
    """The solution, after a line for each of its frames as it came.

    Args:
        client: of the server.
        model: its name.
        inputs: by name.
        plot: a picture that is drawn of what there is, now and then; None for none.
        asked: what else `Client.stream` takes.
    """
    frames: list[Frame] = []
    with client.stream(model, inputs, **asked) as stream, _progress() as progress:
        task = progress.add_task(f"streaming {escape(model)}", total=None)
        show = _shower(client, model, asked.get("version"), inputs, plot)
        for frame in stream:
            frames.append(frame)
            output().print(_line(frame))
            progress.update(task, total=frame.num_frames, completed=frame.index + 1)
            show(frames)
        return stream.solution(frames)


def _shower(
    client: "Client",
    model: str,
    version: str | None,
    inputs: Mapping[str, Any],
    plot: Path | None,
) -> "Callable[[Sequence[Frame]], None]":
    """What draws frames; does nothing without a picture to draw, or one that changes."""
    if plot is None:
        return lambda frames: None
    manifest = client.model(model, version).manifest
    if not manifest.advances:
        return lambda frames: None
    from .live import LivePicture

    picture = LivePicture(plot, manifest, inputs)

    def show(frames: "Sequence[Frame]") -> None:
        # What is wrong with the picture is said of the last one.
        with contextlib.suppress(ValueError, OSError):
            picture.show(frames)

    return show


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # The bar moves down for the lines, if they are written to the same screen.
    return Progress(
        *columns, console=messages(), transient=True, redirect_stdout=sys.stdout.isatty()
    )


def _line(frame: "Frame") -> str:
    fields = [
        f"{escape(name)} {field.min():.6g} to {field.max():.6g}"
        for name, field in frame.fields.items()
    ]
    return f"[bold]t = {frame.t:g}[/]  {', '.join(fields)}"
