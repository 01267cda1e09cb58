"""Where in a user's code something happened."""

import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from traceback import FrameSummary

import torch

_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")
_STANDARD_LIBRARY = str(Path(traceback.__file__).parent)
_WRITTEN = re.compile(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)')
_PACKAGES = ("site-packages", "dist-packages")


def running_at() -> str:
    """The line outside torch that runs now, ` at net.py:12: `x.view(3, -1)``; empty for none."""
    return _innermost(traceback.extract_stack())


def raised_at(error: BaseException) -> str:
    """The line outside torch that raised, in the same form."""
    return _innermost(traceback.extract_tb(error.__traceback__))


def written_at(stack_trace: str | None) -> str:
    """The last line of a stack trace that torch keeps with an operator, in the same form."""
    for path, number, code in reversed(_WRITTEN.findall(stack_trace or "")):
        if not _is_ours(path):
            return f" at {_shown(path)}:{number}: `{code}`"
    return ""


def _innermost(frames: Iterable[FrameSummary]) -> str:
    theirs = [frame for frame in frames if not _is_ours(frame.filename)]
    if not theirs:
        return ""
    frame = theirs[-1]
    return f" at {_shown(frame.filename)}:{frame.lineno}: `{frame.line}`"


def _is_ours(path: str) -> bool:
    if path.startswith(_OURS):
        return True
    return path.startswith(_STANDARD_LIBRARY) and not any(name in path for name in _PACKAGES)


def _shown(path: str) -> str:
    for folder in (Path.cwd(), *(Path(entry) for entry in sys.path if entry)):
        if Path(path).is_relative_to(folder):
            return str(Path(path).relative_to(folder))
    return path
