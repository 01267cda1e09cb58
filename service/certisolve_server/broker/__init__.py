"""The queue between gateways and workers."""

from .base import AbstractBroker as AbstractBroker
from .base import Depth as Depth
from .memory import MemoryBroker as MemoryBroker

__all__ = ["AbstractBroker", "Depth", "MemoryBroker"]
