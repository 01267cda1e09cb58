"""The elementary function that an edge of a Kolmogorov-Arnold network is nearest to.

    y ~ c f(a x + b) + d

c and d follow by linear least squares; a and b by a search over a lattice and a simplex from its
best point. Of the library the edge gets the function with the smallest

    complexity + log10(1 - R² + 1e-8),

so that a function may cost one more if it leaves a tenth of the variance unexplained.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize

from .library import LIBRARY, Elementary

Samples = Float64[np.ndarray, " sample"]
Pair = Float64[np.ndarray, " 2"]
Trials = Float64[np.ndarray, "trial 2"]
Trial = Float64[np.ndarray, "*trial"]

SMALLEST = 1e-300  # variance of a constant
FLOOR = 1e-8  # of unexplained variance: splines are no closer to what they stand for
# Slower sines and wider bells are parabolas, far ends of sigmoids exponentials: those are tried.
SLOWEST, FASTEST, FARTHEST = 0.5, 16.0, 4.0
RATES = np.geomspace(SLOWEST, FASTEST, 31)
SHIFTS = np.linspace(-FARTHEST, FARTHEST, 33)
# Of (x - middle)/half, with zeros and poles near the ends of the interval and far away.
OFFSETS = np.concatenate([np.linspace(0, 1, 21), 1 + np.geomspace(1e-3, 30, 40)])


@dataclass(frozen=True, kw_only=True)
class EdgeFit:
    """c f(a x + b) + d, and how well it fits.

    Attributes:
        unexplained: 1 - R², the fraction of the variance that is not explained.
    """

    function: Elementary
    a: float
    b: float
    c: float
    d: float
    unexplained: float

    @property
    def score(self) -> float:
        """What the best function of the library minimises."""
        return self.function.complexity + float(np.log10(self.unexplained + FLOOR))


def best_fit(x: Samples, y: Samples, library: tuple[Elementary, ...] = LIBRARY) -> EdgeFit:
    """The function with the smallest score."""
    return min(all_fits(x, y, library), key=lambda fit: fit.score)


def all_fits(x: Samples, y: Samples, library: tuple[Elementary, ...] = LIBRARY) -> list[EdgeFit]:
    """Every function of the library, fitted as well as it can be."""
    fits = (_fit(x, y, function) for function in library)
    return [fit for fit in fits if fit is not None]


def _fit(x: Samples, y: Samples, function: Elementary) -> EdgeFit | None:
    middle, half = (x.max() + x.min()) / 2, (x.max() - x.min()) / 2
    u = (x - middle) / half
    trials = _trials(function)
    unexplained = _unexplained(u, y, function, trials)
    if not np.isfinite(unexplained).any():
        return None
    a, b = _polished(u, y, function, trials[unexplained.argmin()])
    c, d, left = _line(function.values(a * u + b), y)
    return EdgeFit(
        function=function,
        a=float(a / half),
        b=float(b - a * middle / half),
        c=float(c),
        d=float(d),
        unexplained=float(left),
    )


def _trials(function: Elementary) -> Trials:
    """Rates and shifts of u in [-1, 1]; the sign of odd and even functions is in c."""
    match function.freedom:
        case "none":
            pairs = [(1.0, 0.0)]
        case "rate":
            pairs = [(sign * rate, 0.0) for sign in (1.0, -1.0) for rate in RATES]
        case "shift":
            signs = (1.0,) if np.isinf(function.domain[0]) else (1.0, -1.0)
            pairs = [(sign, offset) for sign in signs for offset in (*OFFSETS, *-OFFSETS)]
        case "rate and shift":
            pairs = [(rate, shift) for rate in RATES for shift in SHIFTS]
    return np.array(pairs)


def _polished(u: Samples, y: Samples, function: Elementary, start: Pair) -> Pair:
    """The best a and b near those given."""
    free = np.array([function.freedom.startswith("rate"), function.freedom.endswith("shift")])
    if not free.any():
        return start

    def moved(step: Float64[np.ndarray, " free"]) -> Pair:
        pair = start.copy()
        pair[free] += step
        return pair

    def left(step: Float64[np.ndarray, " free"]) -> float:
        pair = moved(step)
        if free.all() and not (SLOWEST <= pair[0] <= FASTEST and abs(pair[1]) <= FARTHEST):
            return np.inf
        return float(_unexplained(u, y, function, pair[None])[0])

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 400}
    return moved(minimize(left, np.zeros(free.sum()), method="Nelder-Mead", options=options).x)


def _unexplained(u: Samples, y: Samples, function: Elementary, pairs: Trials) -> Trial:
    """1 - R² of y against c f(a u + b) + d with the best c and d; inf outside the domain."""
    z = pairs[:, :1] * u + pairs[:, 1:]
    lower, upper = function.domain
    inside = (z.min(axis=1) >= lower) & (z.max(axis=1) <= upper)
    unexplained = np.full(len(pairs), np.inf)
    unexplained[inside] = _line(function.values(z[inside]), y)[2]
    return unexplained


def _line(z: Float64[np.ndarray, "*trial sample"], y: Samples) -> tuple[Trial, Trial, Trial]:
    """Slope and intercept of y over z, and the fraction of its variance that they leave."""
    mean = z.mean(axis=-1, keepdims=True)
    centered, target = z - mean, y - y.mean()
    slope = centered @ target / np.maximum(np.square(centered).sum(axis=-1), SMALLEST)
    left = np.square(target - slope[..., None] * centered).sum(axis=-1) / (target @ target)
    return slope, y.mean() - slope * mean[..., 0], left
