"""Sessions behind every protocol: routes and servicers convert, call, convert back."""

from .plane import SessionLimits as SessionLimits
from .plane import SessionPlane as SessionPlane

__all__ = ["SessionLimits", "SessionPlane"]
