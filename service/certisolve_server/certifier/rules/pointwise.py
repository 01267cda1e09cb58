"""Functions of one number, entry by entry, and the larger and smaller of two."""

import math

from certisolve_server.certifier import functions
from certisolve_server.certifier.functions import Function

from .abstraction import Abstraction, aligned, chained, scaled, total
from .operands import broadcast_shape
from .rule import Declined, Rule, Rules

#: Above it torch returns x for softplus; below 20 the step there is no error of rounding any more.
_SOFTPLUS_THRESHOLD = 20.0


def _applying(name: str) -> Rule:
    """The rule of a function without parameters."""
    return lambda self: apply(functions.find(name), self)


def _comparing(name: str) -> Rule:
    """The rule of the larger or the smaller of two tensors."""
    function = functions.find_binary(name)

    def compare(self: Abstraction, other: Abstraction) -> Abstraction:
        shape = broadcast_shape(self, other)
        x, y = (aligned(each.value, 1, len(shape)) for each in (self, other))
        along_x, along_y = function.derivatives(x, y)
        parts = (scaled(along_x, self.jacobian, shape), scaled(along_y, other.jacobian, shape))
        return Abstraction(function.value(x, y), total(parts))

    return compare


def gelu(self: Abstraction, approximate: str) -> Abstraction:
    """Two different functions, by the attribute."""
    names = {"none": "gelu_erf", "tanh": "gelu_tanh"}
    if approximate not in names:
        raise Declined(f"has the unknown approximation {approximate!r}")
    return apply(functions.find(names[approximate]), self)


def softplus(self: Abstraction, beta: float, threshold: float) -> Abstraction:
    """log(1 + e^(b x)) / b, of which torch's cut at the threshold is a rounding error."""
    if not threshold >= _SOFTPLUS_THRESHOLD:
        raise Declined(f"jumps at its threshold of {threshold}")
    return _with(self, "softplus", beta=beta)


def elu(self: Abstraction, alpha: float, scale: float, input_scale: float) -> Abstraction:
    """The exponential rectifier, with the parameters of celu and selu."""
    return _with(self, "elu", alpha=alpha, scale=scale, input_scale=input_scale)


def leaky_relu(self: Abstraction, negative_slope: float) -> Abstraction:
    """The rectifier with a slope below 0."""
    return _with(self, "leaky_relu", negative_slope=negative_slope)


def clamp(self: Abstraction, min: float | None, max: float | None) -> Abstraction:
    """Cut off at numbers on one side or both."""
    minimum = -math.inf if min is None else min
    maximum = math.inf if max is None else max
    return _with(self, "clamp", minimum=minimum, maximum=maximum)


def hardtanh(self: Abstraction, min_val: float, max_val: float) -> Abstraction:
    """As `clamp`."""
    return clamp(self, min_val, max_val)


def relu6(self: Abstraction) -> Abstraction:
    """Cut off at 0 and 6."""
    return clamp(self, 0.0, 6.0)


def power(self: Abstraction, exponent: float) -> Abstraction:
    """x^n of a whole number n; of others is not everywhere defined."""
    if exponent != math.floor(exponent):
        raise Declined(f"has the exponent {exponent}")
    return _with(self, "power", exponent=int(exponent))


#: By overload.
RULES: Rules = {
    "aten.abs.default": _applying("abs"),
    "aten.clamp.default": clamp,
    "aten.cos.default": _applying("cos"),
    "aten.elu.default": elu,
    "aten.erf.default": _applying("erf"),
    "aten.exp.default": _applying("exp"),
    "aten.expm1.default": _applying("expm1"),
    "aten.gelu.default": gelu,
    "aten.hardtanh.default": hardtanh,
    "aten.leaky_relu.default": leaky_relu,
    "aten.log.default": _applying("log"),
    "aten.log1p.default": _applying("log1p"),
    "aten.maximum.default": _comparing("maximum"),
    "aten.minimum.default": _comparing("minimum"),
    "aten.pow.Tensor_Scalar": power,
    "aten.reciprocal.default": _applying("reciprocal"),
    "aten.relu.default": _applying("relu"),
    "aten.relu6.default": relu6,
    "aten.rsqrt.default": _applying("rsqrt"),
    "aten.sigmoid.default": _applying("sigmoid"),
    "aten.silu.default": _applying("silu"),
    "aten.sin.default": _applying("sin"),
    "aten.softplus.default": softplus,
    "aten.sqrt.default": _applying("sqrt"),
    "aten.square.default": _applying("square"),
    "aten.tanh.default": _applying("tanh"),
}


def apply(function: Function, x: Abstraction) -> Abstraction:
    """A function of one number on each entry, its slopes by the chain rule."""
    return chained(x, function.value(x.value), lambda: function.derivative(x.value))


def _with(x: Abstraction, name: str, **parameters: float) -> Abstraction:
    """A function with parameters, if they are of those that there are enclosures for."""
    try:
        function = functions.find(name, **parameters)
    except ValueError as error:
        raise Declined(f"has parameters that no enclosure holds of: {error}") from error
    return apply(function, x)
