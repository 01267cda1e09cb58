"""All ways to a bound, cheap ones first."""

from .branching import Branching
from .chain import MultiplierChain
from .expansion import Expansion
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
    Expansion(),
    MultiplierChain(),
    MeanValue(),
    Splitting(),
    Linear(),
    Branching(),
    Tubes(),
)

#: Those that have nothing to say for long, and then all at once.
AT_ONCE = frozenset({Expansion.name})
