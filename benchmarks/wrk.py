"""wrk, an HTTP client that shares no code with this project, as a second witness."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/x-safetensors"
file:close()
"""
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Wrk(NamedTuple):
    """What wrk printed."""

    throughput: float
    p50_ms: float
    p99_ms: float


def wrk_is_here() -> bool:
    """Whether wrk is on PATH."""
    return shutil.which("wrk") is not None


def run_wrk(url: str, body: bytes, num_connections: int, duration_s: float) -> Wrk:
    """POST `body` in a closed loop from one thread.

    Raises:
        RuntimeError: wrk failed, or a reply was not 2xx.
    """
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "body").write_bytes(body)
        script = Path(directory) / "post.lua"
        script.write_text(_SCRIPT.format(body=Path(directory) / "body"))
        flags = ["-t1", f"-c{num_connections}", f"-d{max(1, round(duration_s))}s", "--latency"]
        command = ["wrk", *flags, "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration_s + 30)
    return read_wrk(done.stdout + done.stderr)


def read_wrk(printed: str) -> Wrk:
    """The numbers in wrk's report.

    Raises:
        RuntimeError: it has none, or counts replies that were not 2xx.
    """
    rate = re.search(r"Requests/sec: +([\d.]+)", printed)
    if rate is None or "Non-2xx" in printed:
        raise RuntimeError(f"wrk failed:\n{printed}")
    return Wrk(float(rate[1]), _latency(printed, 50), _latency(printed, 99))


def _latency(printed: str, percentile: int) -> float:
    found = re.search(rf"{percentile}% +([\d.]+)(us|ms|s)", printed)
    return float(found[1]) * _UNITS_MS[found[2]] if found else float("nan")
