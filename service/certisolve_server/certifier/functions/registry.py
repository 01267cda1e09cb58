"""Nonlinearities by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .absolute import Absolute
from .clamp import Clamp
from .cos import Cos
from .elu import Elu
from .erf import Erf
from .exp import Exp
from .expm1 import Expm1
from .function import BinaryFunction, Function
from .gelu_erf import GeluErf
from .gelu_tanh import GeluTanh
from .leaky_relu import LeakyRelu
from .log import Log
from .log1p import Log1p
from .maximum import Maximum
from .minimum import Minimum
from .power import Power
from .reciprocal import Reciprocal
from .relu import Relu
from .rsqrt import Rsqrt
from .sigmoid import Sigmoid
from .silu import Silu
from .sin import Sin
from .softplus import Softplus
from .sqrt import Sqrt
from .square import Square
from .tanh import Tanh

#: Functions of one number; what holds for functions is tested for all of these.
all_functions: Mapping[str, Callable[..., Function]] = MappingProxyType(
    {
        "abs": Absolute,
        "clamp": Clamp,
        "cos": Cos,
        "elu": Elu,
        "erf": Erf,
        "exp": Exp,
        "expm1": Expm1,
        "gelu_erf": GeluErf,
        "gelu_tanh": GeluTanh,
        "leaky_relu": LeakyRelu,
        "log": Log,
        "log1p": Log1p,
        "power": Power,
        "reciprocal": Reciprocal,
        "relu": Relu,
        "rsqrt": Rsqrt,
        "sigmoid": Sigmoid,
        "silu": Silu,
        "sin": Sin,
        "softplus": Softplus,
        "sqrt": Sqrt,
        "square": Square,
        "tanh": Tanh,
    }
)

#: Functions of two numbers.
all_binary_functions: Mapping[str, Callable[[], BinaryFunction]] = MappingProxyType(
    {"maximum": Maximum, "minimum": Minimum}
)


def find(name: str, **parameters: float) -> Function:
    """The function of this name with the parameters that its class names; others as in torch.

    Raises:
        KeyError: there is none. Nothing stands in for it.
    """
    if name not in all_functions:
        raise KeyError(f"no enclosures of {name!r}; there are those of {', '.join(all_functions)}")
    return all_functions[name](**parameters)


def find_binary(name: str) -> BinaryFunction:
    """The function of two numbers of this name.

    Raises:
        KeyError: there is none.
    """
    if name not in all_binary_functions:
        raise KeyError(f"no enclosures of {name!r}")
    return all_binary_functions[name]()
