"""`certisolve` whose models kill the process on one particular value, as a faulty program can.

Run as the command line is: `python tests/poisoned_worker.py worker --broker ...`. The fault lasts
while the file exists that the environment names.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from certisolve_server.cli import app
from certisolve_server.engines import AbstractDevice, AbstractEngine, LoadedEngine, load_engine
from certisolve_server.engines.base import Answer, Launch
from certisolve_server.jobs import Artifact, Work
from certisolve_server.processes import loading

#: As the first value of a first input.
POISON = -1313.0
#: Variable that holds the name of the file.
WHILE = "POISONED_WHILE"


class Mortal(AbstractEngine):
    """An engine that poison kills, and its process with it.

    Arguments:
        engine: does the work.
    """

    def __init__(self, engine: AbstractEngine) -> None:
        super().__init__(engine.artifact, engine.device)
        self._engine = engine

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        return self._engine.solve(inputs, work)

    def launch(
        self, columns: Sequence[Sequence[NDArray[Any]]], work: Sequence[Work] | None = None
    ) -> Launch:
        poisoned = any(row.flat[0] == POISON for row in columns[0])
        if poisoned and Path(os.environ[WHILE]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return self._engine.launch(columns, work)


def load_mortal(artifact: Artifact, device: AbstractDevice) -> LoadedEngine:
    """As `load_engine`."""
    engine, paces = load_engine(artifact, device)
    return LoadedEngine(Mortal(engine) if isinstance(engine, AbstractEngine) else engine, paces)


if __name__ == "__main__":
    loading.load_engine = load_mortal
    app()
