"""A solution as it is computed: a line for every frame, and how far it is."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .console import messages, output

if TYPE_CHECKING:
    from certisolve import Client, Frame, Solution


def follow(client: "Client", model: str, inputs: Mapping[str, Any], **asked: Any) -> "Solution":
    """The solution, after a line for each of its frames as it came.

    Args:
        client: of the server.
        model: its name.
        inputs: by name.
        asked: what else `Client.stream` takes.
    """
    frames: list[Frame] = []
    with client.stream(model, inputs, **asked) as stream, _progress() as progress:
        task = progress.add_task(f"streaming {escape(model)}", total=None)
        for frame in stream:
            frames.append(frame)
            output().print(_line(frame))
            progress.update(task, total=frame.num_frames, completed=frame.index + 1)
        return stream.solution(frames)


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
