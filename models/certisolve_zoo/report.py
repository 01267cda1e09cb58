"""The measured numbers as Markdown, for docs/models.md and docs/honest-baselines.md."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from .catalog import CATALOG
from .records import Record
from .targets import target_rows

ERRORS_BEGIN = "<!-- python -m certisolve_zoo table -->"
BASELINES_BEGIN = "<!-- make baselines -->"
_END = "<!-- end -->"
_ERROR_HEADER = ("model", "resolution", "metric", "mean error", "worst", "samples")
_HORIZON_HEADER = ("model", "resolution", "metric", "mean error at time")
_TARGET_HEADER = ("model", "quantity", "target", "measured", "met")
_BASELINE_HEADER = (
    "model",
    "batch",
    "error",
    "ms",
    "classical solver",
    "its error",
    "its ms",
    "model faster by",
    "because",
)


def errors_table(weights: Path) -> str:
    """Errors on unseen samples, those at single times of models that step, and the targets.

    Args:
        weights: folder of the records.
    """
    records = _records(weights)
    errors = _table(_ERROR_HEADER, _error_rows(records))
    horizons = _table(_HORIZON_HEADER, _horizon_rows(records))
    return f"{errors}\n{horizons}\n{_table(_TARGET_HEADER, target_rows(records))}"


def baselines_table(weights: Path) -> str:
    """Every model beside its classical solvers.

    Args:
        weights: folder of the records.
    """
    records = _records(weights)
    machines = sorted({row.hardware for each in records.values() for row in each.baselines})
    lines = "".join(f"Hardware: {machine}.\n" for machine in machines)
    return f"{lines}\n{_table(_BASELINE_HEADER, _baseline_rows(records))}"


def put_table(page: Path, begin: str, table: str) -> None:
    """Replace the table of a page, which stands between `begin` and the end mark.

    Raises:
        ValueError: the page has no such place.
    """
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(_END)
    if not found or not closed:
        raise ValueError(f"{page}: no {begin} ... {_END}")
    page.write_text(f"{before}{begin}\n{table}{_END}{after}", encoding="utf-8")


def table_of(page: Path, begin: str) -> str:
    """The table that stands in a page."""
    _, _, rest = page.read_text(encoding="utf-8").partition(begin)
    return rest.partition(_END)[0].lstrip("\n")


def _records(weights: Path) -> dict[str, Record]:
    return {name: Record.load(weights, name) for name in CATALOG}


def _error_rows(records: dict[str, Record]) -> Iterable[tuple[str, ...]]:
    for name, record in records.items():
        for entry in record.resolutions:
            errors = f"{entry.error:.2g}", f"{entry.worst_error:.2g}"
            metric, samples = _metric(entry.metric), str(entry.num_samples)
            yield f"`{name}`", _sizes(entry.sizes), metric, *errors, samples


def _horizon_rows(records: dict[str, Record]) -> Iterator[tuple[str, ...]]:
    for name, record in records.items():
        for entry in record.resolutions:
            if entry.t:
                pairs = zip(entry.t, entry.error_at_t, strict=True)
                errors = ", ".join(f"{error:.2g} at {time:g}" for time, error in pairs)
                yield f"`{name}`", _sizes(entry.sizes), _metric(entry.metric), errors


def _baseline_rows(records: dict[str, Record]) -> Iterable[tuple[str, ...]]:
    for name, record in records.items():
        for row in record.baselines:
            model = f"{row.model_error:.2g}", f"{row.model_time_ms:.2g}"
            solver = f"{row.solver}; {row.grid}" + (f"; dt = {row.dt:g}" if row.dt else "")
            theirs = solver, f"{row.error:.2g}", f"{row.time_ms:.2g}"
            ratio = f"{row.time_ms / row.model_time_ms:.2g}"
            yield f"`{name}`", str(row.batch_size), *model, *theirs, ratio, row.role


def _sizes(sizes: dict[str, int]) -> str:
    return " x ".join(str(size) for size in sizes.values()) or "any points"


def _metric(metric: str) -> str:
    return {"rel_l2": "relative L2"}.get(metric, metric)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
