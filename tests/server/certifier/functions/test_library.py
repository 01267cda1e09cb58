"""The math library is as accurate as the enclosures count on, in every layout of memory."""

import math
import random

import mpmath
import pytest
import torch
from mpmath import mpf

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import LIBRARY_ULPS
from certisolve_server.certifier.functions import library

SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1022), 1e-300, 1.0, -0.5, 1e22, 1e308]
THRESHOLDS = [
    709.78,
    709.79,
    -708.4,
    -745.13,
    -745.14,
    26.5,
    27.3,
    -37.5,
    19.06,
    5.92,
    1.5707963267,
]

references = {
    "exp": (torch.exp, library.exp, mpmath.exp, -760.0, 720.0),
    "expm1": (torch.expm1, library.expm1, mpmath.expm1, -60.0, 720.0),
    "log": (torch.log, library.log, mpmath.log, 0.0, 10.0),
    "log1p": (torch.log1p, library.log1p, mpmath.log1p, -1.0, 10.0),
    "sqrt": (torch.sqrt, library.sqrt, mpmath.sqrt, 0.0, 10.0),
    "tanh": (torch.tanh, library.tanh, mpmath.tanh, -20.0, 20.0),
    "erf": (torch.erf, library.erf, mpmath.erf, -7.0, 7.0),
    "erfc": (torch.erfc, library.erfc, mpmath.erfc, -7.0, 28.0),
    "sin": (torch.sin, None, mpmath.sin, -1000.0, 1000.0),
    "cos": (torch.cos, None, mpmath.cos, -1000.0, 1000.0),
}


def points(name: str, lower: float, upper: float) -> list[float]:
    """Of all sizes, of the interesting range, and those where libraries change their ways."""
    source = random.Random(name)
    sizes = [10 ** source.uniform(-320, 308) * source.choice([1, -1]) for _ in range(80)]
    even = [source.uniform(lower, upper) for _ in range(120)]
    # Beyond these the results are far from being floats, or mpmath's own erfc fails.
    largest = {"exp": 720.0, "expm1": 720.0, "erfc": 1e6}.get(name, math.inf)
    domains = {"log": 5e-324, "log1p": math.nextafter(-1.0, 0.0), "sqrt": 0.0, "erfc": -1e6}
    least = domains.get(name, -math.inf)
    return [t for t in SPECIAL + THRESHOLDS + sizes + even if least <= t <= largest]


def error_in_ulps(computed: float, exact: mpf) -> float:
    if math.isinf(computed):
        # Rightly so if the exact value is beyond the largest float, or nearly.
        return 0.0 if abs(exact) >= mpf(2) ** 1024 * (1 - mpf(2) ** -52) else math.inf
    return float(abs(mpf(computed) - exact) / math.ulp(computed))


@pytest.mark.parametrize("name", references)
def test_errors_are_below_those_allowed_for(name):
    compute, _, exact, lower, upper = references[name]
    values = torch.tensor(points(name, lower, upper), dtype=torch.float64)
    strided = torch.stack([values, values], 1)[:, 0]
    layouts = [compute(values), compute(strided), torch.stack([compute(t) for t in values])]
    with mpmath.workdps(50):
        for index, t in enumerate(values.tolist()):
            reference = exact(mpf(t))
            for computed in layouts:
                assert error_in_ulps(computed[index].item(), reference) < LIBRARY_ULPS / 2, t


@pytest.mark.parametrize("name", [name for name in references if references[name][1]])
def test_enclosures_hold_and_are_a_few_ulps_wide(name):
    _, enclose, exact, lower, upper = references[name]
    values = points(name, lower, upper)
    result = enclose(Interval.exact(torch.tensor(values, dtype=torch.float64)))
    ends = zip(result.lower.tolist(), result.upper.tolist(), strict=True)
    with mpmath.workdps(50):
        for t, (low, high) in zip(values, ends, strict=True):
            assert mpf(low) <= exact(mpf(t)) <= mpf(high), t
            if math.isfinite(high):
                assert high - low <= 20 * LIBRARY_ULPS * math.ulp(max(abs(low), abs(high)))


def test_constants_are_rounded_from_what_they_stand_for():
    with mpmath.workdps(50):
        constants = {
            2.0 * math.pi: 2 * mpmath.pi,
            1.4142135623730951: mpmath.sqrt(2),
            0.3989422804014327: 1 / mpmath.sqrt(2 * mpmath.pi),
            1.1283791670955126: 2 / mpmath.sqrt(mpmath.pi),
            0.7978845608028654: mpmath.sqrt(2 / mpmath.pi),
            0.044715: mpf("0.044715"),
        }
        for constant, exact in constants.items():
            assert (
                Interval.near(constant).lower.item() < exact < Interval.near(constant).upper.item()
            )
    # ATen's own float, of which the enclosure by near must not lose sight.
    of_aten = math.sqrt(2.0) * (2.0 / math.sqrt(math.pi)) * 0.5
    assert Interval.near(0.7978845608028654).contains(of_aten).all()
