"""Elementary functions that an edge of a Kolmogorov-Arnold network may turn out to be.

An edge is compared with c f(z) + d. Which z are worth a trial depends on f: a rate of x and a shift
in general, but the scale of z is part of c for a power, and the shift part of c for an exponential.
A cosine is a sine with a shift.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import sympy as sp  # type: ignore[import-untyped]  # has no stubs
from jaxtyping import Float64

Array = Float64[np.ndarray, "..."]
Freedom = Literal["none", "rate", "shift", "rate and shift"]


@dataclass(frozen=True, kw_only=True)
class Elementary:
    """One function of the library.

    Attributes:
        name: as printed.
        complexity: what a read-out pays for it.
        freedom: which parts of z = ± rate x + shift are not already in c and d.
        values: f(z) in floats.
        symbol: f(z) in symbols.
        domain: of z, within which the edge must stay.
        degree: n for f(k z) = kⁿ f(z), k > 0; None for other functions.
    """

    name: str
    complexity: int
    freedom: Freedom
    values: Callable[[Array], Array]
    symbol: Callable[[sp.Expr], sp.Expr]
    domain: tuple[float, float] = (-math.inf, math.inf)
    degree: float | None = None


def _power(name: str, degree: float, complexity: int, *, everywhere: bool) -> Elementary:
    exponent = sp.nsimplify(degree)
    return Elementary(
        name=name,
        complexity=complexity,
        freedom="shift",
        values=lambda z: np.asarray(z**degree),
        symbol=lambda z: z**exponent,
        # The pole of 1/x and the slope of the root at zero are kept out.
        domain=(-math.inf, math.inf) if everywhere else (1e-6, math.inf),
        degree=degree,
    )


def _free(
    name: str,
    complexity: int,
    values: Callable[[Array], Array],
    symbol: Callable[[sp.Expr], sp.Expr],
    limit: float = math.inf,
) -> Elementary:
    return Elementary(
        name=name,
        complexity=complexity,
        freedom="rate and shift",
        values=values,
        symbol=symbol,
        domain=(-limit, limit),
    )


LINEAR = Elementary(
    name="x",
    complexity=1,
    freedom="none",
    values=lambda z: z,
    symbol=lambda z: z,
    degree=1.0,
)
EXPONENTIAL = Elementary(
    name="exp(x)", complexity=2, freedom="rate", values=np.exp, symbol=sp.exp, domain=(-30.0, 30.0)
)
LOGARITHM = Elementary(
    name="log(x)",
    complexity=2,
    freedom="shift",
    values=np.log,
    symbol=sp.log,
    domain=(1e-6, math.inf),
)
LIBRARY = (
    LINEAR,
    _power("x^2", 2.0, 2, everywhere=True),
    _power("x^3", 3.0, 3, everywhere=True),
    _power("x^4", 4.0, 3, everywhere=True),
    _power("x^5", 5.0, 3, everywhere=True),
    _power("1/x", -1.0, 2, everywhere=False),
    _power("1/x^2", -2.0, 2, everywhere=False),
    _power("sqrt(x)", 0.5, 2, everywhere=False),
    Elementary(name="|x|", complexity=3, freedom="shift", values=np.abs, symbol=sp.Abs, degree=1.0),
    EXPONENTIAL,
    LOGARITHM,
    _free("sin(x)", 2, np.sin, sp.sin),
    _free("tan(x)", 3, np.tan, sp.tan, limit=1.5),
    _free("tanh(x)", 3, np.tanh, sp.tanh),
    _free("gauss(x)", 3, lambda z: np.exp(-(z**2)), lambda z: sp.exp(-(z**2))),
    _free("arctan(x)", 4, np.arctan, sp.atan),
    _free("arcsin(x)", 4, np.arcsin, sp.asin, limit=1.0),
    _free("log(1+e^x)", 4, lambda z: np.logaddexp(0.0, z), lambda z: sp.log(1 + sp.exp(z))),
)
