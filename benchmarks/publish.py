"""Measured numbers into README.md, between marks, so that no number is typed by hand."""

from collections.abc import Sequence
from pathlib import Path

_README = Path(__file__).with_name("README.md")


def write_section(name: str, lines: Sequence[str], path: Path = _README) -> None:
    """Replace what stands between `<!-- name:begin -->` and `<!-- name:end -->`.

    Raises:
        ValueError: the file lacks the marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path.name} lacks {begin} ... {end}")
    path.write_text("\n".join((before + begin, "", *lines, "", end + after)))
