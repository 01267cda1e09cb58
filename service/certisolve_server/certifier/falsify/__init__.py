"""Lower bounds with their witnesses: what no upper bound may fall below.

Searches are in plain floats; each witness is proven before it counts, and `recheck_witness` proves
it again.
"""

from .attack import attack as attack
from .proof import recheck_witness as recheck_witness

__all__ = ["attack", "recheck_witness"]
