"""Artifacts on disk: found, checked against their digests, and safe to load."""

from .aten_operators import is_aten_operator as is_aten_operator
from .pt2_guard import UnsafeProgram as UnsafeProgram
from .pt2_guard import check_pt2 as check_pt2
from .repository import ArtifactError as ArtifactError
from .repository import GoldenCase as GoldenCase
from .repository import Scan as Scan
from .repository import golden_cases as golden_cases
from .repository import read_artifact as read_artifact
from .repository import scan as scan

__all__ = [
    "ArtifactError",
    "GoldenCase",
    "Scan",
    "UnsafeProgram",
    "check_pt2",
    "golden_cases",
    "is_aten_operator",
    "read_artifact",
    "scan",
]
