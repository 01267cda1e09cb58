"""A process that speaks as a prover does, and does what the question of a job says.

    python scripted_prover.py FD THREADS MAX_BYTES

A script is a list of actions: `["better", 2.0]`, `["done", 2.0]`, `["refuse"]`, `["hang"]`,
`["die"]`, `["die unless", path]`, which leaves the file there, and `["wait for", path]`.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from certisolve_server.broker.envelope import decode_job, encode_error
from certisolve_server.certification import channel
from certisolve_server.errors import UnsupportedOperator

_POLL_S = 0.005


def document(upper: float, status: str, **more: Any) -> bytes:
    """A certificate, as far as a worker looks into it."""
    said = {"upper": upper, "lower": 1.0, "status": status, "methods": {}, "pid": os.getpid()}
    return json.dumps({**said, **more}).encode()


def _act(action: list[Any], header: dict[str, Any], connection: socket.socket) -> None:
    match action:
        case ["better", upper]:
            short, whole = (document(upper, "improving", evidence=e) for e in (None, {"k": 1}))
            connection.sendall(channel.encode(channel.BETTER, short, whole))
        case ["done", upper]:
            found = document(upper, "certified", **header)
            connection.sendall(channel.encode(channel.DONE, found))
        case ["refuse"]:
            error = encode_error(UnsupportedOperator("aten.foo at node 'bar' has no rule"))
            connection.sendall(channel.encode(channel.REFUSED, error))
        case ["hang"]:
            connection.recv(1)  # until the worker is gone
            os._exit(0)
        case ["wait for", path]:
            while not Path(path).exists():
                time.sleep(_POLL_S)
        case ["die unless", path] if Path(path).exists():
            pass
        case ["die unless", path]:
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Answer jobs until the worker is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.sendall(channel.encode(channel.READY))
    while (message := channel.receive(connection)) is not None:
        header, record = channel.split(message.payload)
        job = decode_job(record, None)
        for action in json.loads(job.work.question)["script"]:
            _act(action, json.loads(header), connection)


if __name__ == "__main__":
    main()
