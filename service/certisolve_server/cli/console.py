"""What every command says the same way: where it prints, and how it stops."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def output() -> Console:
    """For answers."""
    return Console(highlight=False)


def messages() -> Console:
    """For progress and errors, so that answers can be piped."""
    return Console(stderr=True, highlight=False)


def fail(message: str, code: int = 1) -> NoReturn:
    """Stop with one line that says what is wrong and what to do."""
    messages().print(f"[red]error[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a document for programs."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def pairs_table() -> Table:
    """A table of names and what they are, without lines."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
