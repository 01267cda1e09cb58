"""All ways to a bound, cheap ones first."""

from .branching import Branching
from .chain import MultiplierChain
from .fourier import Fourier
from .linear import Linear
from .mean_value import MeanValue
from .method import Method
from .norms import FusedNorms
from .splitting import Splitting
from .tube import Tubes

METHODS: tuple[Method, ...] = (
    FusedNorms(),
    Fourier(),
    MultiplierChain(),
    MeanValue(),
    Splitting(),
    Linear(),
    Branching(),
    Tubes(),
)


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        KeyError: there is none. Nothing stands in for it.
    """
    for method in METHODS:
        if method.name == name:
            return method
    raise KeyError(f"no method is called {name!r}")
