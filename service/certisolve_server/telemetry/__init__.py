"""Logs, metrics and traces."""

from .logs import configure_logging as configure_logging
from .metrics import Metrics as Metrics
from .tracing import Tracing as Tracing
from .tracing import TracingUnavailable as TracingUnavailable

__all__ = ["Metrics", "Tracing", "TracingUnavailable", "configure_logging"]
