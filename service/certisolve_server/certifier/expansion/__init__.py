"""Networks of spectral layers expanded around the center of a bounded set."""

from .bound import bound as bound
from .center import center_at as center_at
from .expand import Expanded as Expanded
from .expand import expanding as expanding
from .reach import reach_of as reach_of

__all__ = ["Expanded", "bound", "center_at", "expanding", "reach_of"]
