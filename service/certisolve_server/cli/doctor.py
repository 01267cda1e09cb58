"""certisolve doctor: whether this machine can serve, and what is missing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from . import checks
from .console import messages, output, print_json

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(
    url: Annotated[str | None, typer.Option(help="Also ask whether a server answers here.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="Also ask whether this Redis would keep what it accepts.")
    ] = None,
    port: Annotated[int, typer.Option(help="HTTP port to look at.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="gRPC port to look at.")] = 8001,
    models: Annotated[Path, typer.Option(help="Repository of artifacts.")] = Path(
        "models/artifacts"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check software, devices, ports and models; exit 1 when serving is impossible."""
    with messages().status("looking"):
        findings = list(_findings(url, broker, port, grpc_port, models))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        _print(findings)
    if _faults(findings):
        raise typer.Exit(1)


def _findings(
    url: str | None, broker: str | None, port: int, grpc_port: int, models: Path
) -> Iterator[checks.Finding]:
    yield from checks.check_software()
    yield from checks.check_devices()
    yield checks.check_port("HTTP", "--port", port)
    yield checks.check_port("gRPC", "--grpc-port", grpc_port)
    yield from checks.check_repository(models)
    if url is not None:
        yield checks.check_server(url)
    if broker is not None:
        yield checks.check_queue(broker)


def _print(findings: Sequence[checks.Finding]) -> None:
    table, section = Table("", "", "", "to do"), ""
    for finding in findings:
        if finding.section != section:
            table.add_section()
        table.add_row(
            "" if finding.section == section else f"[bold]{finding.section}[/]",
            escape(finding.name),
            f"[{_COLOURS[finding.level]}]{escape(finding.detail)}[/]",
            escape(finding.fix),
        )
        section = finding.section
    output().print(table)
    if _faults(findings):
        output().print("[red]This machine cannot serve yet.[/]")
    else:
        output().print("[green]This machine can serve.[/]")


def _faults(findings: Iterable[checks.Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)
