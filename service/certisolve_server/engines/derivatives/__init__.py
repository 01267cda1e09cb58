"""Derivatives of solutions: forward along directions of inputs, backward along those of outputs."""

from .derive import Derived as Derived
from .derive import derive as derive

__all__ = ["Derived", "derive"]
