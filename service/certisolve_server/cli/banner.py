"""What `serve` says once requests are answered."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from certisolve_server.processes.embedded import Ready

_SDK_EXAMPLE = Path("examples/burgers.py")
_BODY_EXAMPLE = Path("examples/burgers.json")


def print_banner(ready: "Ready", console: Console) -> None:
    """Where the server listens, what it serves and what to try first."""
    entries = list(ready.catalog)
    names = [entry.artifact.manifest.name for entry in entries if entry.ready]
    url = ready.addresses.http
    console.print(f"\n[bold green]certisolve[/] serves {', '.join(names)} on {ready.device}")
    for entry in entries:
        if entry.fault:
            console.print(f"  [red]refused[/] {escape(entry.fault)}", soft_wrap=True)
    console.print(f"  HTTP   {url}   (interface: {url}/docs)")
    console.print(f"  gRPC   {ready.addresses.grpc}")
    console.print(f"  Try    {escape(_curl(url, names))}", soft_wrap=True)
    if _SDK_EXAMPLE.exists():
        console.print(f"  Python {_SDK_EXAMPLE}")


def _curl(url: str, models: Collection[str]) -> str:
    """A line to paste into a shell in this directory."""
    if "burgers1d-fno" in models and _BODY_EXAMPLE.exists():
        return f"curl {url}/v1/models/burgers1d-fno/solve -d @{_BODY_EXAMPLE}"
    if "kan-formula" in models:
        body = '{"inputs":{"x":[0.5],"y":[0.1]}}'
        return f"curl {url}/v1/models/kan-formula/solve -d '{body}'"
    return f"curl {url}/v1/models"
