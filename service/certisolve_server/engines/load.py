"""From an artifact to an engine that has proved itself: loaded, checked, warmed up, measured."""

import math
from typing import NamedTuple

from certisolve_server.artifacts import ArtifactError, golden_cases
from certisolve_server.jobs import Artifact, Lane

from .base import AbstractEngine
from .device import AbstractDevice
from .families import open_engine
from .golden import check_golden, golden_columns, golden_work
from .pace import Pace, measure_pace
from .program import ProgramError
from .stepping import SteppingEngine

Shapes = tuple[tuple[int, ...], ...]


class LoadedEngine(NamedTuple):
    """An engine, and its measured pace by input shapes."""

    engine: AbstractEngine | SteppingEngine
    paces: dict[Shapes, Pace]

    def pace(self, shapes: Shapes) -> Pace:
        """How requests of these shapes are best run; as the manifest allows if not measured."""
        limit = self.engine.artifact.manifest.max_batch_size
        return self.paces.get(shapes) or Pace(limit, {})

    def expected_s(self, shapes: Shapes, batch_size: int) -> float:
        """Seconds a batch takes at most; infinity where its requests decide that themselves."""
        if self.engine.artifact.manifest.family != "map":
            return math.inf
        return self.pace(shapes).expected_s(batch_size)

    def batch_sizes(self, lane: Lane) -> tuple[int, ...]:
        """Sizes that a step of a lane may have on this device, ascending; the last is its slots."""
        most = self.pace(lane.shapes).max_batch_size
        return tuple(sorted({min(self.engine.device.padded(n), most) for n in range(1, most + 1)}))


def load_engine(artifact: Artifact, device: AbstractDevice) -> LoadedEngine:
    """The artifact's program on `device`, after it reproduced its golden outputs.

    Every golden case is run at several batch sizes, which warms the program up and finds the pace
    at which its resolution is served fastest.

    Raises:
        ProgramError: unsafe, unreadable, or its outputs are not the golden ones.
    """
    engine = open_engine(artifact, device)
    paces: dict[Shapes, Pace] = {}
    try:
        for case in golden_cases(artifact):
            check_golden(engine, case)
            columns = golden_columns(engine, case)
            inputs = columns[: len(artifact.manifest.inputs)]
            shapes = tuple(column[0].shape for column in inputs)
            paces[shapes] = measure_pace(engine, columns, golden_work(engine, case))
    except ArtifactError as error:
        raise ProgramError(str(error)) from error
    return LoadedEngine(engine, paces)
