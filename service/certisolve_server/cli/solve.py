"""certisolve solve: one request, from files to a summary, a file and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .console import fail, messages, output, pairs_table
from .models import describe_error, describe_sizes
from .remote import DEFAULT_TIMEOUT_S, DEFAULT_URL, Timeout, Url, Version, connected
from .stream import follow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from certisolve import Client, Manifest, Solution
    from certisolve.manifest import ValidatedResolution

#: More are cut short.
_SHOWN_TIMES = 8


def solve(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    file: Annotated[
        Path | None, typer.Argument(help=".npz or .safetensors holding the inputs by name.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=FILE",
            help="u0=u0.npy, u0=file.npz:key, u0=file.safetensors:key, or x=0.5,0.7.",
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Scalar of the equation."),
    ] = None,
    t: Annotated[
        list[float] | None, typer.Option("--t", help="Time at which the solution is wanted.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to go, instead of --t.")] = None,
    save_every: Annotated[
        int | None, typer.Option(help="Of every so many steps a frame, and of the last.")
    ] = None,
    resume_from: Annotated[
        int | None, typer.Option(help="Leave out frames up to the step of this number.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Relative residual an iterative solver goes to.", show_default=False),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(help="Relative tolerance of an integration.", show_default=False),
    ] = None,
    atol: Annotated[
        float | None,
        typer.Option(help="Absolute tolerance of an integration.", show_default=False),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print each frame as it is computed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write fields: .npz, .npy, .safetensors.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw inputs and fields: .png, .pdf.")] = None,
    url: Url = DEFAULT_URL,
    version: Version = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> None:
    """Solve for one initial condition or coefficient, and say how far to trust the answer."""
    from . import arrays

    try:
        sent = arrays.read_inputs(file, inputs or [])
        if out is not None:
            arrays.check_writable(out)
    except arrays.ArrayFileError as error:
        fail(str(error))
    if plot is not None:
        _check_plottable(plot)
    values = dict(parameter(text) for text in parameters or [])
    asked = {
        "parameters": values,
        "t": t,
        "steps": steps,
        "save_every": save_every,
        "resume_from": resume_from,
        "tolerance": tolerance,
        "rtol": rtol,
        "atol": atol,
        "version": version,
    }
    with connected(url, timeout) as client:
        if stream:
            solution = follow(client, model, sent, plot, **asked)
        else:
            solution = _solve(client, model, sent, **asked)
        manifest = client.model(model, solution.model.version).manifest
    # Before anything is printed: a reader who closes the pipe early must not lose the files.
    kept, problem = _keep(solution, manifest, sent, out, plot)
    output().print(_summary(solution, manifest), _fields(solution, manifest), *kept, sep="\n")
    if problem:
        fail(problem)


def _solve(client: "Client", model: str, inputs: Mapping[str, Any], **asked: Any) -> "Solution":
    with messages().status(f"solving {model}"):
        return client.solve(model, inputs, **asked)


def parameter(text: str) -> tuple[str, float]:
    """A scalar of the equation, written NAME=NUMBER."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        fail(f"--param {text}: write NAME=NUMBER, for example nu=0.01")


def _check_plottable(path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        fail("--plot needs matplotlib: pip install 'certisolve-server[plot]'")
    if not path.parent.is_dir():
        fail(f"{path}: there is no directory {path.parent}")


def _summary(solution: "Solution", manifest: "Manifest") -> Table:
    timings, table = solution.timings_ms, pairs_table()
    table.add_row("model", f"{escape(manifest.title)} ({manifest.name} {solution.model.version})")
    colour = "green" if solution.status == "ok" else "red"
    table.add_row("status", f"[{colour}]{escape(solution.status)}[/]")
    table.add_row("error", error_bar(solution, manifest))
    for name, value in findings(solution):
        table.add_row(name, value)
    if solution.t.size:
        table.add_row("t", _times(solution))
    stages = f"queue {timings.queue:.2f}, batch {timings.batch:.2f}, compute {timings.compute:.2f}"
    table.add_row("time", f"{sum(timings):.2f} ms ({stages})")
    table.add_row("batch", f"shared by {solution.batch_size} request(s)")
    return table


def error_bar(solution: "Solution", manifest: "Manifest") -> str:
    """How far the answer can be trusted, as a sentence with markup."""
    diagnostics = solution.diagnostics
    if diagnostics is None:
        return "not asked for"
    if diagnostics.resampled_from is not None:
        sent = describe_sizes(dict(diagnostics.resampled_from))
        return f"[yellow]not validated at {sent}: computed on another grid and resampled[/]"
    if "horizon" in diagnostics.out_of_range:
        return "[yellow]further than the model was validated[/]"
    if diagnostics.expected_error is None or (measured := _measured(solution, manifest)) is None:
        return "[yellow]never measured[/]"
    expected = describe_error(diagnostics.expected_error, measured.metric)
    worst = describe_error(measured.worst_error, measured.metric)
    bound = f"at most {worst} in {measured.num_samples} unseen samples"
    if not measured.t:
        return f"{expected} expected; {bound}"
    whole = describe_error(measured.error, measured.metric)
    return f"{expected} expected at t = {solution.t[-1]:g}; whole forecasts {whole}, {bound}"


def findings(solution: "Solution") -> list[tuple[str, str]]:
    """What was found about the answer, as rows of a table."""
    diagnostics = solution.diagnostics
    if diagnostics is None:
        return []
    values = {
        "residual": diagnostics.residual,
        "conservation": diagnostics.conservation_defect,
        "knots": diagnostics.knot_excess,
        "noise gain": diagnostics.noise_gain,
        "evaluations": diagnostics.nfe,
        "rejected steps": diagnostics.rejected_steps,
    }
    return [(name, f"{value:.3g}") for name, value in values.items() if value is not None]


def _times(solution: "Solution") -> str:
    times = [f"{time:g}" for time in solution.t]
    return ", ".join(times if len(times) <= _SHOWN_TIMES else [*times[:3], "...", times[-1]])


def _measured(solution: "Solution", manifest: "Manifest") -> "ValidatedResolution | None":
    sizes = {axis: points.size for axis, points in solution.coords.items()}
    return next((each for each in manifest.resolutions if each.sizes == sizes), None)


def _fields(solution: "Solution", manifest: "Manifest") -> Table:
    units = {spec.name: spec.units for spec in manifest.outputs}
    table = Table("field", "shape", "minimum", "maximum", "units")
    for name, field in solution.fields.items():
        axes = zip(solution.axes[name], field.shape, strict=True)
        shape = ", ".join(f"{axis}={size}" for axis, size in axes)
        table.add_row(name, shape, f"{field.min():.6g}", f"{field.max():.6g}", units.get(name, ""))
    return table


def _keep(
    solution: "Solution",
    manifest: "Manifest",
    sent: "dict[str, NDArray[np.generic]]",
    out: Path | None,
    plot: Path | None,
) -> tuple[list[str], str]:
    """Write the files asked for: what was done, and what went wrong."""
    from .arrays import ArrayFileError, write_solution

    kept: list[str] = []
    try:
        if out is not None:
            write_solution(out, solution)
            kept.append(f"wrote {out}")
        if plot is not None:
            from .plot import draw

            draw(plot, solution, manifest, sent)
            kept.append(f"drew {plot}")
    except (ArrayFileError, OSError, ValueError) as error:
        return kept, str(error)
    return kept, ""
