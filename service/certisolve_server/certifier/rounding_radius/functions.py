"""Functions of one number, entry by entry.

Both values lie in the hull, so they are apart by at most the largest slope there times what the
arguments are apart. What computing adds is bounded from how torch computes each function on its
kinds of machine: a relative error of the result, and where the function is made of several parts
that cancel, one relative to the argument or to 1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from certisolve_server.certifier import functions
from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.rounding import product_up, sum_up
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.functions import Function
from certisolve_server.certifier.graph.splines import BASIS
from certisolve_server.certifier.rules import RULES as EXACT
from certisolve_server.certifier.rules import Abstraction, Declined

from .deviation import Deviation, Known, largest, number, rounded
from .precision import Precision
from .rule import Rule, Rules

#: From the precision, |x| and |f(x)| at most, to what computing adds.
Local = Callable[[Precision, Tensor, Tensor], Deviation]

#: e^-20, what torch leaves away of softplus above its threshold.
_SOFTPLUS_CUT = 2.1e-9


def through(precision: Precision, x: Known, function: Function, local: Local) -> Deviation:
    """What a function makes of a deviation, and adds to it."""
    slope = function.derivative(x.hull).magnitude
    changed = Deviation.within(
        product_up(x.deviation.entries, slope), product_up(x.deviation.length, largest(slope))
    )
    return changed.plus(local(precision, x.size, function.value(x.hull).magnitude))


def exactly(precision: Precision, size: Tensor, _value: Tensor) -> Deviation:
    """No rounding, or a number of Python rounded."""
    del precision
    return Deviation.none(tuple(size.shape))


def relative(times: float) -> Local:
    """An error of so many u relative to the result."""

    def local(precision: Precision, _size: Tensor, value: Tensor) -> Deviation:
        return rounded(value, times * precision.unit_roundoff, precision.absolute)

    return local


def of_library(name: str) -> Local:
    """The error of a function of the math library."""

    def local(precision: Precision, _size: Tensor, value: Tensor) -> Deviation:
        return rounded(value, precision.of_library(name), precision.absolute)

    return local


def mixed(of_argument: float, of_value: float, of_one: float = 0.0) -> Local:
    """Errors of so many u relative to the argument, to the result and to 1."""

    def local(precision: Precision, size: Tensor, value: Tensor) -> Deviation:
        u = precision.unit_roundoff
        sizes = sum_up(product_up(size, number(of_argument)), product_up(value, number(of_value)))
        return rounded(sizes, u * (1.0 + 1e-9), precision.absolute + of_one * u)

    return local


def applying(name: str, local: Local) -> Rule:
    """The rule of a function without parameters."""
    return lambda precision, self: through(precision, self, functions.find(name), local)


def away_from_zero(name: str, local: Local) -> Rule:
    """As `applying`, of a function without a value at 0, which smaller numbers may be taken for.

    Raises:
        NotCertified: there may be such a number.
    """

    def rule(precision: Precision, self: Known) -> Deviation:
        if not bool((self.hull.mignitude >= precision.smallest).all()):
            raise NotCertified(f"{name} is taken of what may round to 0")
        return through(precision, self, functions.find(name), local)

    return rule


def square_root(precision: Precision, size: Tensor, value: Tensor) -> Deviation:
    """The error of the library, and what is lost of numbers that are taken for 0."""
    lost = precision.absolute + math.sqrt(precision.smallest) * (1.0 + 1e-9)
    del size
    return rounded(value, precision.of_library("sqrt"), lost)


def gelu(precision: Precision, self: Known, approximate: str) -> Deviation:
    """X Phi(x), whose factor Phi = (1 + erf) / 2 is off by a few u of 1, not of Phi.

    The distribution is off by 2 u from erf, as much from its argument, since z erf'(z) < 1/2, by
    1.5e-7 where a polynomial stands for erf (oneDNN: Abramowitz and Stegun, 7.1.26), and by u from
    its sum; that of tanh likewise. All of it is counted twice.
    """
    names = {"none": "gelu_erf", "tanh": "gelu_tanh"}
    if approximate not in names:
        raise Declined(f"has the unknown approximation {approximate!r}")
    return through(precision, self, functions.find(names[approximate]), mixed(16.0, 6.0))


def softplus(precision: Precision, self: Known, beta: float, threshold: float) -> Deviation:
    """log(1 + e^(b x)) / b.

    Raises:
        NotCertified: e^(b x) may overflow below the threshold.
    """
    if not threshold >= 20.0:
        raise Declined(f"jumps at its threshold of {threshold}")
    highest = threshold
    if self.size.numel():
        highest = min(threshold, float(product_up(largest(self.size), number(abs(beta)))))
    if not highest < math.log(precision.largest) - 1.0:
        raise NotCertified("an exponential may overflow in softplus")

    def local(precision: Precision, size: Tensor, value: Tensor) -> Deviation:
        # A relative error of b x is one of |b x| u of e^(b x), and of the result at most.
        share = 2.0 * precision.unit_roundoff * (1.0 + 1e-9)
        sizes = product_up(value, sum_up(product_up(size, number(2.0 * abs(beta))), number(16.0)))
        return rounded(sizes, share, precision.absolute + _SOFTPLUS_CUT / abs(beta))

    return through(precision, self, functions.find("softplus", beta=beta), local)


def elu(
    precision: Precision, self: Known, alpha: float, scale: float, input_scale: float
) -> Deviation:
    """The exponential rectifier: below 0 by expm1, or by e^x - 1 with an error of u of 1."""
    size = abs(alpha * scale)
    function = functions.find("elu", alpha=alpha, scale=scale, input_scale=input_scale)
    return through(
        precision, self, function, mixed(8.0 * size * abs(input_scale), 16.0, 8.0 * size)
    )


def leaky_relu(precision: Precision, self: Known, negative_slope: float) -> Deviation:
    """The rectifier with a slope below 0, which may be rounded."""
    function = functions.find("leaky_relu", negative_slope=negative_slope)
    return through(precision, self, function, relative(4.0))


def clamp(precision: Precision, self: Known, min: float | None, max: float | None) -> Deviation:
    """Cut off at numbers, which may be rounded."""
    # No number of the floats is beyond their largest.
    ends = (float(end) for end in (min, max) if end is not None)
    bounds = [end for end in ends if abs(end) <= precision.largest]
    off = sum(precision.of_number(end) for end in bounds)
    minimum = -math.inf if min is None else min
    maximum = math.inf if max is None else max
    function = functions.find("clamp", minimum=minimum, maximum=maximum)
    return through(precision, self, function, lambda p, s, v: rounded(v, 0.0, off))


def hardtanh(precision: Precision, self: Known, min_val: float, max_val: float) -> Deviation:
    """As `clamp`."""
    return clamp(precision, self, min_val, max_val)


def relu6(precision: Precision, self: Known) -> Deviation:
    """Cut off at 0 and 6."""
    return clamp(precision, self, 0.0, 6.0)


def power(precision: Precision, self: Known, exponent: float) -> Deviation:
    """x^n of a whole number n, by products or by the library."""
    if exponent != math.floor(exponent):
        raise Declined(f"has the exponent {exponent}")
    n = int(exponent)
    if n < 0:
        least = self.hull.mignitude
        if not bool((least.clamp(max=1.0) ** -n > 2.0 * precision.smallest).all()):
            raise NotCertified("what is divided by may round to 0")
    share = precision.of_library("power") + precision.gamma(abs(n) + 2)
    function = functions.find("power", exponent=n)
    return through(
        precision, self, function, lambda p, s, v: rounded(v, share, p.absolute * (abs(n) + 1))
    )


def bspline_basis(precision: Precision, x: Known, knots: Known, degree: int) -> Deviation:
    """B-splines by the recursion of Cox and de Boor, which cancels nothing.

    At the float that x was computed as, the comparisons with knots are exact and all terms are not
    negative, so each degree adds five roundings to the relative error: of two differences, a
    quotient, a product and a sum.
    """
    if not knots.deviation.is_none:
        raise Declined("has knots that are rounded")
    shape = x.shape
    ones = Interval.exact(torch.ones(1, 1, *shape, dtype=torch.float64))
    seeded = Abstraction(x.hull.rearranged(lambda ends: ends.unsqueeze(0)), {"x": ones})
    exact = Abstraction(knots.hull.rearranged(lambda ends: ends.unsqueeze(0)))
    found = EXACT[BASIS](x=seeded, knots=exact, degree=degree)
    slope = found.jacobian["x"].magnitude[0, 0]
    off = sum_up(x.deviation.entries, number(precision.smallest))
    changed = Deviation.within(product_up(slope, off))
    value = found.value.magnitude[0]
    return changed.plus(
        rounded(value, precision.gamma(5 * degree + 2), degree * precision.absolute)
    )


#: By overload.
RULES: Rules = {
    BASIS: bspline_basis,
    "aten.abs.default": applying("abs", exactly),
    "aten.clamp.default": clamp,
    "aten.cos.default": applying("cos", of_library("cos")),
    "aten.elu.default": elu,
    # Off by 1.5e-7 where a polynomial stands for it, as in `gelu`.
    "aten.erf.default": applying("erf", mixed(0.0, 8.0, 8.0)),
    "aten.exp.default": applying("exp", of_library("exp")),
    "aten.expm1.default": applying("expm1", of_library("expm1")),
    "aten.gelu.default": gelu,
    "aten.hardtanh.default": hardtanh,
    "aten.leaky_relu.default": leaky_relu,
    "aten.log.default": away_from_zero("log", of_library("log")),
    "aten.log1p.default": applying("log1p", of_library("log1p")),
    "aten.pow.Tensor_Scalar": power,
    "aten.reciprocal.default": away_from_zero("reciprocal", relative(4.0)),
    "aten.relu.default": applying("relu", exactly),
    "aten.relu6.default": relu6,
    "aten.rsqrt.default": away_from_zero("rsqrt", of_library("rsqrt")),
    # 1 / (1 + e^-x), in whose sum the error of e^-x has a share below 1.
    "aten.sigmoid.default": applying("sigmoid", relative(24.0)),
    "aten.silu.default": applying("silu", relative(32.0)),
    "aten.sin.default": applying("sin", of_library("sin")),
    "aten.softplus.default": softplus,
    "aten.sqrt.default": applying("sqrt", square_root),
    "aten.square.default": applying("square", relative(4.0)),
    "aten.tanh.default": applying("tanh", of_library("tanh")),
}
