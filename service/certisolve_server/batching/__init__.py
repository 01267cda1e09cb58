"""Who runs together: pure schedulers without clock, queue or tensors."""

from .base import AbstractBatcher as AbstractBatcher
from .base import Batch as Batch
from .base import Request as Request
from .continuous import ContinuousBatcher as ContinuousBatcher
from .dynamic import DynamicBatcher as DynamicBatcher
from .fair_share import FairShare as FairShare
from .plan import Ended as Ended
from .plan import Join as Join
from .plan import Move as Move
from .plan import Plan as Plan
from .plan import SlotStatus as SlotStatus
from .plan import SteppingRequest as SteppingRequest

__all__ = [
    "AbstractBatcher",
    "Batch",
    "ContinuousBatcher",
    "DynamicBatcher",
    "Ended",
    "FairShare",
    "Join",
    "Move",
    "Plan",
    "Request",
    "SlotStatus",
    "SteppingRequest",
]
