"""Second-order enclosures of small smooth graphs, of thousands of boxes at a time.

A graph is laid out as a tape of dense affine maps and functions of single numbers; each step
carries, on every box, values, slopes and second derivatives, as centres with radii.
"""

from .recorder import record as record
from .tape import Tape as Tape
from .walk import Enclosed as Enclosed
from .walk import enclose as enclose

__all__ = ["Enclosed", "Tape", "enclose", "record"]
