"""Who runs together: pure schedulers without clock, queue or tensors."""

from .base import AbstractBatcher as AbstractBatcher
from .base import Batch as Batch
from .base import Request as Request
from .dynamic import DynamicBatcher as DynamicBatcher

__all__ = ["AbstractBatcher", "Batch", "DynamicBatcher", "Request"]
