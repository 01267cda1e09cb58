"""What every table shares: the hardware it ran on, its two forms, and when it may be published."""

import itertools
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

#: Above this load average something else is running, and the numbers are not to be published.
QUIET = 1.0


def is_busy() -> bool:
    """Whether something else is running."""
    return os.getloadavg()[0] > QUIET


def processor() -> str:
    """What the machine computes with."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """For a terminal; rows that begin alike form a section."""
    printed = Table(*headings)
    for first, group in itertools.groupby(rows, key=lambda row: row[0]):
        printed.add_section()
        for number, row in enumerate(group):
            printed.add_row("" if number else first, *row[1:])
    return printed


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """For README.md."""
    lines = [headings, ("---",) * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def verdict(kept: bool) -> str:
    """What became of a promise."""
    return "met" if kept else "missed"
