"""Level `float`: how far rounding leads the executed program away from the map on reals."""

from .around import Around as Around
from .around import Surveyor as Surveyor
from .precision import FLOAT32 as FLOAT32
from .precision import FLOAT64 as FLOAT64
from .precision import Precision as Precision
from .radius import executed as executed
from .radius import rounding_radius as rounding_radius
from .walk import RULES as RULES

__all__ = [
    "FLOAT32",
    "FLOAT64",
    "RULES",
    "Around",
    "Precision",
    "Surveyor",
    "executed",
    "rounding_radius",
]
