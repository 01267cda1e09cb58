"""Models that predict while measurements correct them: what a session is, and how it moves; pure.

Stores keep sessions between calls; who serves them is `certisolve_server.sessionplane`.
"""

from .courses import course_of as course_of
from .store import AbstractSessionStore as AbstractSessionStore
from .store import MemorySessionStore as MemorySessionStore
from .store import Record as Record

__all__ = ["AbstractSessionStore", "MemorySessionStore", "Record", "course_of"]
