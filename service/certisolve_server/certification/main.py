"""The process that proves: one job after the other, for the worker that started it.

    python -m certisolve_server.certification.main FD THREADS MAX_BYTES

It ends when the worker does, however that happens, and the kernel takes it before the worker when
memory runs out. Solves go first on every core.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from certisolve_server.broker.envelope import encode_error
from certisolve_server.errors import InternalError, ServingError

from . import channel

if TYPE_CHECKING:
    from .prover import Prover

_log = logging.getLogger(__name__)
#: Added to the niceness: any other process goes first.
_NICENESS = 5
#: Of /proc/self/oom_score_adj: the first to go.
_FIRST_TO_GO = "1000"


def main(fd: int, threads: int, max_bytes: int) -> None:
    """Serve until the other end is gone.

    Args:
        fd: of a connected socket.
        threads: of the computation; 0 leaves it to torch.
        max_bytes: of memory; 0 for no limit.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    _yield_to_others()
    _limit_memory(max_bytes)
    connection = socket.socket(fileno=fd)
    jobs: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()

    import torch  # seconds, in which the worker can already be listened to

    from .prover import Prover

    if threads:
        torch.set_num_threads(threads)
    prover = Prover()
    connection.sendall(channel.encode(channel.READY))
    while True:
        _answer(prover, jobs.get(), connection)


def _answer(prover: "Prover", payload: bytes, connection: socket.socket) -> None:
    header, record = channel.split(payload)
    try:
        document = prover.prove(
            record, **json.loads(header), tell=lambda *parts: _tell(connection, parts)
        )
    except ServingError as error:
        connection.sendall(channel.encode(channel.REFUSED, encode_error(error)))
    except Exception as error:
        _log.error("certification_failed", exc_info=error)
        defect = InternalError("a defect of the certifier; its log has the cause")
        connection.sendall(channel.encode(channel.REFUSED, encode_error(defect)))
    else:
        connection.sendall(channel.encode(channel.DONE, document))


def _tell(connection: socket.socket, parts: tuple[bytes, ...]) -> None:
    connection.sendall(channel.encode(channel.BETTER, *parts))


def _listen(connection: socket.socket, jobs: "SimpleQueue[bytes]") -> None:
    while (message := channel.receive(connection)) is not None:
        jobs.put(message.payload)
    os._exit(0)


def _yield_to_others() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def _limit_memory(max_bytes: int) -> None:
    if not max_bytes:
        return
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
