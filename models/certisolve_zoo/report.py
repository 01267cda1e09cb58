"""The measured numbers as Markdown, for docs/models.md."""

from collections.abc import Iterable
from pathlib import Path

from .catalog import CATALOG
from .records import Record

_ERROR_HEADER = ("model", "resolution", "metric", "mean error", "worst", "samples")
_BASELINE_HEADER = ("model", "grid", "batch", "error", "ms", "solver error", "solver ms")


def markdown_tables(weights: Path) -> str:
    """Errors on unseen samples, then every model beside its classical solver.

    Args:
        weights: folder of the records.
    """
    records = {name: Record.load(weights, name) for name in CATALOG}
    errors = _table(_ERROR_HEADER, _error_rows(records))
    baselines = _table(_BASELINE_HEADER, _baseline_rows(records))
    return f"{errors}\n{baselines}"


def _error_rows(records: dict[str, Record]) -> Iterable[tuple[str, ...]]:
    for name, record in records.items():
        for entry in record.resolutions:
            sizes = " x ".join(str(size) for size in entry.sizes.values()) or "any points"
            errors = f"{entry.error:.2g}", f"{entry.worst_error:.2g}"
            yield f"`{name}`", sizes, entry.metric, *errors, str(entry.num_samples)


def _baseline_rows(records: dict[str, Record]) -> Iterable[tuple[str, ...]]:
    for name, record in records.items():
        for row in record.baselines:
            model = f"{row.model_error:.2g}", f"{row.model_time_ms:.2g}"
            solver = f"{row.error:.2g}", f"{row.time_ms:.2g}"
            yield f"`{name}`", row.grid, str(row.batch_size), *model, *solver


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
