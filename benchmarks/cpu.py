"""CPU seconds that running processes have used so far, where the system tells (Linux)."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Of /proc/PID/stat, counted after the name in parentheses, which may hold spaces.
_USER, _SYSTEM = 11, 12


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process; NaN where it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return float("nan")
    fields = text.rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S
