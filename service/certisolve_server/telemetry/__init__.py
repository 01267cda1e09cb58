"""Logs and metrics."""

from .logs import configure_logging as configure_logging
from .metrics import Metrics as Metrics

__all__ = ["Metrics", "configure_logging"]
