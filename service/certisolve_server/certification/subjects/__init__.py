"""From a request and a loaded program to a problem of the certifier, for every family."""

from .opening import open_subject as open_subject
from .subject import Subject as Subject

__all__ = ["Subject", "open_subject"]
