"""Nonlinearities in as many digits as asked for: what enclosures are held against."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath
from mpmath import mpf

Real = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Reference:
    """A function by its name and parameters, with its derivative away from kinks.

    Args:
        lower: members of its domain are above this.
        kinks: where slopes of both sides differ.
        has_pole: whether it is not defined at 0.
    """

    name: str
    value: Real
    derivative: Real
    parameters: dict[str, float] = field(default_factory=dict)
    lower: float = -math.inf
    kinks: tuple[float, ...] = ()
    has_pole: bool = False

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])


def logistic(x: mpf) -> mpf:
    return 1 / (1 + mpmath.exp(-x))


def distribution(x: mpf) -> mpf:
    if abs(x) > 1e6:
        # Of such arguments mpmath's erfc overflows; Mills' ratio leaves relative errors of 1e-12.
        return mpf(1) if x > 0 else density(x) / -x
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def density(x: mpf) -> mpf:
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


def silu_slope(x: mpf) -> mpf:
    return logistic(x) * (1 + x * logistic(-x))


def gelu_slope(x: mpf) -> mpf:
    return distribution(x) + x * density(x)


def inner(x: mpf) -> mpf:
    return 2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpf("0.044715") * x**3)


def inner_slope(x: mpf) -> mpf:
    return 2 * mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpf("0.044715") * x**2)


def gelu_tanh_slope(x: mpf) -> mpf:
    share = logistic(inner(x))
    return share + x * share * logistic(-inner(x)) * inner_slope(x)


def elu(alpha: float, scale: float, input_scale: float) -> tuple[Real, Real]:
    def value(x: mpf) -> mpf:
        return mpf(scale) * (x if x > 0 else mpf(alpha) * mpmath.expm1(mpf(input_scale) * x))

    def slope(x: mpf) -> mpf:
        decay = mpf(alpha) * mpf(input_scale) * mpmath.exp(mpf(input_scale) * x)
        return mpf(scale) * (1 if x > 0 else decay)

    return value, slope


def softplus(beta: float) -> tuple[Real, Real]:
    def value(x: mpf) -> mpf:
        scaled = mpf(beta) * x
        return (max(scaled, 0) + mpmath.log1p(mpmath.exp(-abs(scaled)))) / mpf(beta)

    return value, lambda x: logistic(mpf(beta) * x)


def leaky(slope: float) -> tuple[Real, Real]:
    return lambda x: max(x, 0) + mpf(slope) * min(x, 0), lambda x: 1 if x > 0 else mpf(slope)


def clamp(least: float, most: float) -> tuple[Real, Real]:
    return lambda x: min(max(x, least), most), lambda x: int(least < x < most)


def power(n: int) -> tuple[Real, Real]:
    return lambda x: x**n, lambda x: n * x ** (n - 1) if n else mpf(0)


def tanh_slope(x: mpf) -> mpf:
    return 4 * logistic(2 * x) * logistic(-2 * x)


all_references = (
    Reference("abs", abs, lambda x: mpmath.sign(x), kinks=(0.0,)),
    Reference("clamp", *clamp(-1.0, 6.0), {"minimum": -1.0, "maximum": 6.0}, kinks=(-1.0, 6.0)),
    Reference("clamp", *clamp(0.0, math.inf), {"minimum": 0.0}, kinks=(0.0,)),
    Reference("cos", mpmath.cos, lambda x: -mpmath.sin(x)),
    Reference("elu", *elu(1.0, 1.0, 1.0), kinks=(0.0,)),
    Reference(
        "elu",
        *elu(1.67, 1.05, 0.7),
        {"alpha": 1.67, "scale": 1.05, "input_scale": 0.7},
        kinks=(0.0,),
    ),
    Reference("erf", mpmath.erf, lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)),
    Reference("exp", mpmath.exp, mpmath.exp),
    Reference("expm1", mpmath.expm1, mpmath.exp),
    Reference("gelu_erf", lambda x: x * distribution(x), gelu_slope),
    Reference("gelu_tanh", lambda x: x * logistic(inner(x)), gelu_tanh_slope),
    Reference("leaky_relu", *leaky(0.01), kinks=(0.0,)),
    Reference("leaky_relu", *leaky(-0.3), {"negative_slope": -0.3}, kinks=(0.0,)),
    Reference("leaky_relu", *leaky(2.5), {"negative_slope": 2.5}, kinks=(0.0,)),
    Reference("log", mpmath.log, lambda x: 1 / x, lower=0.0),
    Reference("log1p", mpmath.log1p, lambda x: 1 / (1 + x), lower=-1.0),
    Reference("power", *power(3), {"exponent": 3}),
    Reference("power", *power(0), {"exponent": 0}),
    Reference("power", *power(1), {"exponent": 1}),
    Reference("power", *power(-2), {"exponent": -2}, has_pole=True),
    Reference("power", *power(-1), {"exponent": -1}, has_pole=True),
    Reference("reciprocal", lambda x: 1 / x, lambda x: -1 / x**2, has_pole=True),
    Reference("relu", lambda x: max(x, 0), lambda x: int(x > 0), kinks=(0.0,)),
    Reference("rsqrt", lambda x: 1 / mpmath.sqrt(x), lambda x: -1 / (2 * x**1.5), lower=0.0),
    Reference("sigmoid", logistic, lambda x: logistic(x) * logistic(-x)),
    Reference("silu", lambda x: x * logistic(x), silu_slope),
    Reference("sin", mpmath.sin, mpmath.cos),
    Reference("softplus", *softplus(1.0)),
    Reference("softplus", *softplus(3.7), {"beta": 3.7}),
    Reference("sqrt", mpmath.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x)), lower=0.0),
    Reference("square", lambda x: x * x, lambda x: 2 * x),
    Reference("tanh", mpmath.tanh, tanh_slope),
)
