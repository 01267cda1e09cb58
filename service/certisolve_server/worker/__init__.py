"""Claims jobs, forms batches next to the model, runs them on one device."""

from .loop import Worker as Worker

__all__ = ["Worker"]
