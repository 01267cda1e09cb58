"""The queue between gateways and workers."""

from .base import NO_PROGRESS as NO_PROGRESS
from .base import AbstractBroker as AbstractBroker
from .base import Bounds as Bounds
from .base import Capacity as Capacity
from .base import Claim as Claim
from .base import DeadLetter as DeadLetter
from .base import Depth as Depth
from .base import Idempotency as Idempotency
from .base import Reaped as Reaped
from .memory import MemoryBroker as MemoryBroker

__all__ = [
    "NO_PROGRESS",
    "AbstractBroker",
    "Bounds",
    "Capacity",
    "Claim",
    "DeadLetter",
    "Depth",
    "Idempotency",
    "MemoryBroker",
    "Reaped",
]
