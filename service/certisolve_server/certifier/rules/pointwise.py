"""Functions of one number, entry by entry, and the larger and smaller of two."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from certisolve_server.certifier import functions
from certisolve_server.certifier.functions import Function

from .abstraction import Abstraction, aligned, chained, scaled, total
from .operands import broadcast_shape
from .rule import Declined, Rule, Rules

#: Above it torch returns x for softplus; below 20 the step there is no error of rounding any more.
_SOFTPLUS_THRESHOLD = 20.0

#: Of larger ones intervals overflow before they tell anything.
_LARGEST_POWER = 1 << 20

# As in ATen (Klambauer et al., Self-normalizing neural networks, 2017).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


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


def gelu(approximate: str) -> Function:
    """Two different functions, by the attribute."""
    names = {"none": "gelu_erf", "tanh": "gelu_tanh"}
    if approximate not in names:
        raise Declined(f"has the unknown approximation {approximate!r}")
    return functions.find(names[approximate])


def softplus(beta: float, threshold: float) -> Function:
    """log(1 + e^(b x)) / b, of which torch's cut at the threshold is a rounding error."""
    if not threshold >= _SOFTPLUS_THRESHOLD:
        raise Declined(f"jumps at its threshold of {threshold}")
    return _of_parameters("softplus", beta=beta)


def elu(alpha: float, scale: float, input_scale: float) -> Function:
    """The exponential rectifier, with the parameters of celu and selu."""
    return _of_parameters("elu", alpha=alpha, scale=scale, input_scale=input_scale)


def celu(alpha: float) -> Function:
    """max(x, 0) + min(a (e^(x / a) - 1), 0), where 1 / a is a float, as torch takes it."""
    if alpha == 0 or (1.0 / alpha) * alpha != 1.0 or math.frexp(alpha)[0] != 0.5:
        raise Declined(f"has the parameter {alpha}, which is no power of 2")
    return _of_parameters("elu", alpha=alpha, input_scale=1.0 / alpha)


def selu() -> Function:
    """The exponential rectifier with the constants that torch multiplies with."""
    return _of_parameters("elu", alpha=_SELU_ALPHA, scale=_SELU_SCALE)


def leaky_relu(negative_slope: float) -> Function:
    """The rectifier with a slope below 0."""
    return _of_parameters("leaky_relu", negative_slope=negative_slope)


def clamp(min: float | None, max: float | None) -> Function:
    """Cut off at numbers on one side or both."""
    minimum = -math.inf if min is None else min
    maximum = math.inf if max is None else max
    return _of_parameters("clamp", minimum=minimum, maximum=maximum)


def hardtanh(min_val: float, max_val: float) -> Function:
    """As `clamp`."""
    return clamp(min_val, max_val)


def relu6() -> Function:
    """Cut off at 0 and 6."""
    return clamp(0.0, 6.0)


def power(exponent: float) -> Function:
    """x^n of a whole number n; of others is not everywhere defined."""
    # False of NaN.
    if not abs(exponent) <= _LARGEST_POWER or exponent != math.floor(exponent):
        raise Declined(f"has the exponent {exponent}")
    return _of_parameters("power", exponent=int(exponent))


def apply(function: Function, x: Abstraction) -> Abstraction:
    """A function of one number on each entry, its slopes by the chain rule."""
    return chained(x, function.value(x.value), lambda: function.derivative(x.value))


def _named(name: str) -> Callable[..., Function]:
    """A function without parameters."""
    return lambda: functions.find(name)


def _of_parameters(name: str, **parameters: float) -> Function:
    """A function with parameters, if they are of those that there are enclosures for."""
    try:
        return functions.find(name, **parameters)
    except ValueError as error:
        raise Declined(f"has parameters that no enclosure holds of: {error}") from error


def _applying(make: Callable[..., Function]) -> Rule:
    """The rule of an operator whose arguments but `self` are parameters of its function."""
    return lambda self, **parameters: apply(make(**parameters), self)


#: What an overload applies entry by entry, from its arguments but `self`.
FUNCTIONS: Mapping[str, Callable[..., Function]] = MappingProxyType(
    {
        "aten.abs.default": _named("abs"),
        "aten.celu.default": celu,
        "aten.clamp.default": clamp,
        "aten.cos.default": _named("cos"),
        "aten.elu.default": elu,
        "aten.erf.default": _named("erf"),
        "aten.exp.default": _named("exp"),
        "aten.expm1.default": _named("expm1"),
        "aten.gelu.default": gelu,
        "aten.hardtanh.default": hardtanh,
        "aten.leaky_relu.default": leaky_relu,
        "aten.log.default": _named("log"),
        "aten.log1p.default": _named("log1p"),
        "aten.pow.Tensor_Scalar": power,
        "aten.reciprocal.default": _named("reciprocal"),
        "aten.relu.default": _named("relu"),
        "aten.relu6.default": relu6,
        "aten.rsqrt.default": _named("rsqrt"),
        "aten.selu.default": selu,
        "aten.sigmoid.default": _named("sigmoid"),
        "aten.silu.default": _named("silu"),
        "aten.sin.default": _named("sin"),
        "aten.softplus.default": softplus,
        "aten.sqrt.default": _named("sqrt"),
        "aten.square.default": _named("square"),
        "aten.tanh.default": _named("tanh"),
    }
)

#: By overload.
RULES: Rules = {
    "aten.max.other": _comparing("maximum"),
    "aten.maximum.default": _comparing("maximum"),
    "aten.min.other": _comparing("minimum"),
    "aten.minimum.default": _comparing("minimum"),
    **{operator: _applying(make) for operator, make in FUNCTIONS.items()},
}
