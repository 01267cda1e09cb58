"""A box in parts, each bounded by itself: the tree of cuts, the search for it, and its check."""

from .bounding import Bounding as Bounding
from .by_both import ByBoth as ByBoth
from .by_intervals import ByIntervals as ByIntervals
from .by_taylor import ByTaylor as ByTaylor
from .outside import Outside as Outside
from .search import Search as Search
from .tree import MAX_INPUTS as MAX_INPUTS
from .tree import recheck as recheck

__all__ = [
    "MAX_INPUTS",
    "Bounding",
    "ByBoth",
    "ByIntervals",
    "ByTaylor",
    "Outside",
    "Search",
    "recheck",
]
