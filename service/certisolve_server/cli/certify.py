"""certisolve certify: a proven bound of how much a model's output changes with its inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .console import fail, messages, output, pairs_table
from .remote import DEFAULT_TIMEOUT_S, DEFAULT_URL, Timeout, Url, Version, connected
from .solve import parameter

if TYPE_CHECKING:
    from certisolve import Certificate, Client

_SET = "Set"
_NORMS = "Norms"
_SEARCH = "Search"
_NAMED = "NAME=FILE"
_COLOURS = {"certified": "green", "budget_exhausted": "yellow"}


def certify(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    center: Annotated[
        list[str] | None,
        typer.Option(
            metavar=_NAMED,
            help="Center of a ball: x.npy where one input varies, or u0=u0.npy, x=0.5,0.7.",
            rich_help_panel=_SET,
        ),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="Of the ball.", rich_help_panel=_SET)] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            help="Of the radius: l1, l2 (if left out), linf, grid_l2.", rich_help_panel=_SET
        ),
    ] = None,
    lower: Annotated[
        list[str] | None,
        typer.Option(metavar=_NAMED, help="Least values of a box.", rich_help_panel=_SET),
    ] = None,
    upper: Annotated[
        list[str] | None,
        typer.Option(metavar=_NAMED, help="Greatest values of a box.", rich_help_panel=_SET),
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--global", help="All inputs there are.", rich_help_panel=_SET)
    ] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar=_NAMED, help="Does not vary.", rich_help_panel=_SET),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Scalar of the equation."),
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option(help="Grid of --global, as 256 or 64,64.", rich_help_panel=_SET),
    ] = None,
    input_norm: Annotated[
        str | None,
        typer.Option(
            help="Of differences of inputs; --norm, or l2, if left out.", rich_help_panel=_NORMS
        ),
    ] = None,
    output_norm: Annotated[
        str | None,
        typer.Option(
            help="Of differences of outputs; --norm, or l2, if left out.", rich_help_panel=_NORMS
        ),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Which output; the first if left out.", show_default=False)
    ] = None,
    component: Annotated[
        int | None, typer.Option(help="Flat index of the one number that is meant.")
    ] = None,
    soundness: Annotated[
        str, typer.Option(help="real, or float: with the rounding of what is executed.")
    ] = "real",
    steps: Annotated[int | None, typer.Option(help="How many steps together.")] = None,
    t: Annotated[float | None, typer.Option(help="Over how many seconds.")] = None,
    budget: Annotated[
        float, typer.Option(help="Seconds of search.", rich_help_panel=_SEARCH)
    ] = 10.0,
    gap: Annotated[
        float | None,
        typer.Option(help="Upper / lower at which the search ends.", rich_help_panel=_SEARCH),
    ] = None,
    max_splits: Annotated[
        int | None, typer.Option(help="Cuts of the set at most.", rich_help_panel=_SEARCH)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search.", rich_help_panel=_SEARCH)] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the certificate, with its proof: .json."),
    ] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the bounds over time, beside --output.")
    ] = False,
    url: Url = DEFAULT_URL,
    version: Version = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
) -> None:
    """Prove how much the output of a model can change with its inputs, on a set of them.

    For all x, y in the set, |f(x) - f(y)| <= upper |x - y|. The set is a ball (--center, --radius),
    a box (--lower, --upper) or everything (--global).
    """
    if out is not None and not out.parent.is_dir():
        fail(f"{out}: there is no directory {out.parent}")
    question: dict[str, Any] = {
        "radius": radius,
        "norm": norm,
        "parameters": dict(parameter(text) for text in parameters or []),
        "resolution": None if resolution is None else _sizes(resolution),
        "input_norm": input_norm,
        "output_norm": output_norm,
        "output": field,
        "component": component,
        "soundness": soundness,
        "steps": steps,
        "t": t,
        "budget_s": budget,
        "gap": gap,
        "max_splits": max_splits,
        "seed": seed,
        "version": version,
    }
    if everywhere:
        question["domain"] = "global"
    corners = {"center": center, "lower": lower, "upper": upper, "inputs": inputs}
    with connected(url, timeout) as client:
        question |= _read(client, model, version, corners)
        certificate = _certified(client, model, budget, question)
    kept = _keep(certificate, out, plot)
    output().print(summary(certificate), *kept, sep="\n")
    if certificate.status == "unbounded":
        raise typer.Exit(3)


def summary(certificate: "Certificate") -> Table:
    """What was proven, as a table of names and values."""
    table, model = pairs_table(), certificate.model
    table.add_row("model", f"{escape(model.name)} {escape(model.version)}")
    table.add_row("map", escape(certificate.map))
    colour = _COLOURS.get(certificate.status, "red")
    table.add_row("status", f"[{colour}]{escape(certificate.status)}[/]")
    norms = certificate.norms
    table.add_row("norms", f"{norms['input']} to {norms['output']}, level {certificate.soundness}")
    table.add_row("upper", f"{certificate.upper:.6g} by {escape(certificate.method or 'nothing')}")
    if certificate.reason:
        table.add_row("reason", escape(certificate.reason))
    table.add_row("lower", f"{certificate.lower:.6g}, gap {certificate.gap:.4g}")
    if certificate.rounding is not None:
        table.add_row("rounding", f"{certificate.rounding:.3g} of each output, on top")
    if certificate.error_amplification:
        table.add_row("means", escape(str(certificate.error_amplification["statement"])))
    table.add_row("time", f"{certificate.elapsed_s:.2f} s")
    return table


def _read(
    client: "Client", model: str, version: str | None, given: Mapping[str, Sequence[str] | None]
) -> dict[str, Any]:
    """Arrays by role and input; without a name where it is the model's only one."""
    from . import arrays

    read: dict[str, Any] = {}
    for role, texts in given.items():
        if not texts:
            continue
        named = [text if _is_named(text) else _only(client, model, version, text) for text in texts]
        try:
            read[role] = arrays.read_inputs(None, named)
        except arrays.ArrayFileError as error:
            fail(str(error))
    return read


def _is_named(text: str) -> bool:
    name, separator, _ = text.partition("=")
    return bool(separator) and name.isidentifier()


def _only(client: "Client", model: str, version: str | None, text: str) -> str:
    names = [each.name for each in client.model(model, version).manifest.inputs]
    if len(names) > 1:
        fail(f"{text}: {model} has the inputs {', '.join(names)}; write {names[0]}={text}")
    return f"{names[0]}={text}"


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        fail(f"--resolution {text}: write sizes like 256 or 64,64")


def _certified(
    client: "Client", model: str, budget_s: float, question: dict[str, Any]
) -> "Certificate":
    """The last certificate, after a bar that tells how the bounds get better."""
    job = client.submit_certify(model, **question)
    try:
        with _progress() as progress:
            task = progress.add_task(f"certifying {escape(model)}", total=budget_s, bounds="")
            for info in job.events():
                progress.update(task, completed=info.progress * budget_s)
                if info.bounds is not None:
                    progress.update(task, bounds=_bounds(info.bounds.upper, info.bounds.lower))
        return job.wait()
    except KeyboardInterrupt:
        job.cancel()
        raise


def _bounds(upper: float, lower: float) -> str:
    return f"{lower:.5g} <= L <= {upper:.5g}"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[bounds]}"),
        console=messages(),
        transient=True,
    )


def _keep(certificate: "Certificate", out: Path | None, plot: bool) -> list[str]:
    kept = []
    try:
        if out is not None:
            certificate.save(out)
            kept.append(f"wrote {escape(str(out))}")
        if plot:
            from .bounds_plot import draw

            picture = (out or Path("certificate.json")).with_suffix(".png")
            draw(picture, certificate)
            kept.append(f"drew {escape(str(picture))}")
    except ImportError:
        fail("--plot needs matplotlib: pip install 'certisolve-server[plot]'")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    return kept
