"""What the models were meant to reach, and whether they do, from the records."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .records import Record

Records = dict[str, Record]
_COMPONENTS_OF_SPIRAL = 2


@dataclass(frozen=True)
class Target:
    """A number of a record and its bound.

    Attributes:
        model: name.
        quantity: what is bounded, in words.
        limit: the bound.
        measured: the number, from all records.
        at_least: whether the limit is a lower one.
    """

    model: str
    quantity: str
    limit: float
    measured: Callable[[Records], float]
    at_least: bool = False

    def met(self, records: Records) -> bool:
        """Whether the number keeps its bound."""
        number = self.measured(records)
        return number >= self.limit if self.at_least else number <= self.limit


def _worst_mean(model: str) -> Callable[[Records], float]:
    """The mean error at the resolution where it is largest."""
    return lambda records: max(entry.error or 0.0 for entry in records[model].resolutions)


def _spiral_distance(records: Records) -> float:
    """Mean distance 0.5 ahead, from the root mean square over the two components."""
    [entry] = records["spiral-feedback"].resolutions
    at_half = dict(zip(entry.t, entry.error_at_t, strict=True))[0.5]
    return float(at_half * _COMPONENTS_OF_SPIRAL**0.5)


def _worth_of_memory(records: Records) -> float:
    """How many times larger the error is without."""
    errors = [_worst_mean(name)(records) for name in ("ks1d-ffno", "ks1d-memno")]
    return errors[0] / errors[1]


TARGETS = (
    Target("burgers1d-fno", "relative L2", 0.01, _worst_mean("burgers1d-fno")),
    Target("darcy2d-fno", "relative L2", 0.0108, _worst_mean("darcy2d-fno")),
    Target("ns2d-fno", "relative L2 over t = 10 to 50", 0.0128, _worst_mean("ns2d-fno")),
    Target("ks1d-memno", "times less error than `ks1d-ffno`", 2.0, _worth_of_memory, at_least=True),
    Target("spiral-feedback", "mean distance 0.5 ahead", 1.0, _spiral_distance),
    Target("kan-formula", "rmse", 1e-4, _worst_mean("kan-formula")),
    Target("kan-friction", "relative L2", 1e-4, _worst_mean("kan-friction")),
    Target("diffreact-multionet", "relative L2", 0.01, _worst_mean("diffreact-multionet")),
    Target("poisson-dcdm", "relative L2 to the direct solution", 1e-7, _worst_mean("poisson-dcdm")),
)


def target_rows(records: Records) -> Iterator[tuple[str, ...]]:
    """Model, quantity, target, measured, met."""
    for target in TARGETS:
        bound = f"{'≥' if target.at_least else '≤'} {target.limit:g}"
        met = "yes" if target.met(records) else "**missed**"
        number = f"{target.measured(records):.2g}"
        yield f"`{target.model}`", target.quantity, bound, number, met
