"""certisolve export: a user's module or ONNX file becomes a model that is served."""

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from .console import fail, messages, output, pairs_table
from .models import describe_error, describe_sizes
from .remote import DEFAULT_URL

if TYPE_CHECKING:
    from certisolve_export import Exported, Samples

_REPOSITORY = Path("models/artifacts")


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION|FILE.onnx",
            help="The function returns the torch.nn.Module. The file is run, here and now: export "
            "your own code only.",
        ),
    ],
    manifest: Annotated[
        Path, typer.Option("--manifest", "-m", help="Draft of the manifest, a JSON file.")
    ],
    out: Annotated[
        Path, typer.Option(help="Repository of artifacts, as in `serve --models`.")
    ] = _REPOSITORY,
    file_format: Annotated[
        Literal["torch.export", "onnx"], typer.Option("--format", help="Of a module's program.")
    ] = "torch.export",
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the module, a .safetensors file.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Unseen problems and answers to measure errors on, .safetensors."),
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="Inputs to try the model on, .safetensors; else drawn.")
    ] = None,
    unmeasured: Annotated[
        bool, typer.Option("--unmeasured", help="Export without any error; every answer says so.")
    ] = False,
) -> None:
    """Make a servable model of a torch.nn.Module or an ONNX file, or say what is in its way.

    The model is run, traced, written, loaded again, compared with itself at every resolution and in
    batches, and loaded as a server does. What passes here is served.
    """
    try:
        import certisolve_export as exporting
    except ImportError as error:
        fail(f"{error}: export needs torch: pip install 'certisolve-server[cpu]'")
    from certisolve_server.artifacts import is_aten_operator

    try:
        with messages().status("reading") as status, warnings.catch_warnings():
            # What torch deprecates inside itself is not its users' to mend.
            warnings.simplefilter("ignore")
            exported = exporting.export(
                Path(model) if model.endswith(".onnx") else exporting.build_module(model, weights),
                manifest,
                out,
                file_format=file_format,
                reference=_samples(reference),
                examples=_samples(examples),
                unmeasured=unmeasured,
                is_listed=is_aten_operator,
                accept=_accept,
                on_step=status.update,
            )
    except exporting.ExportError as error:
        fail(f"{type(error).__name__}: {error}")
    _report(exported)
    _suggest(exported, out)


def _samples(path: Path | None) -> "list[Samples]":
    from certisolve_export import read_samples

    return [] if path is None else read_samples(path)


def _accept(folder: Path) -> None:
    """Load an artifact as servers do, on the CPU."""
    from certisolve_export import NotServed
    from certisolve_server.artifacts import ArtifactError, read_artifact
    from certisolve_server.engines import ProgramError, load_engine, open_device

    try:
        load_engine(read_artifact(folder), open_device("cpu"))
    except (ArtifactError, ProgramError) as error:
        raise NotServed(
            f"a server refuses it: {error}", "docs/artifacts.md says what servers refuse"
        ) from error


def _report(exported: "Exported") -> None:
    manifest, table = exported.manifest, pairs_table()
    table.add_row("artifact", escape(str(exported.folder)))
    program = exported.folder / manifest.program.file
    table.add_row("program", f"{manifest.program.file}, {program.stat().st_size / 1024:.0f} KiB")
    for resolution in manifest.resolutions:
        error = describe_error(resolution.error, resolution.metric)
        colour = "yellow" if resolution.error is None else "green"
        table.add_row("error", f"{describe_sizes(resolution.sizes)}: [{colour}]{error}[/]")
    table.add_row("batch", f"answers alone and together agree to {manifest.batch_tolerance:.0e}")
    for note in exported.notes:
        table.add_row("note", escape(note))
    output().print(table)


def _suggest(exported: "Exported", out: Path) -> None:
    body = shlex.quote(str(exported.folder / "example.json"))
    console, name = output(), exported.manifest.name
    console.print(f"\ncertisolve serve --models {shlex.quote(str(out))}", soft_wrap=True)
    console.print(f"curl {DEFAULT_URL}/v1/models/{name}/solve -d @{body}", soft_wrap=True)
