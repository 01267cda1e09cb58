"""From an artifact to an engine that has proved itself: loaded, checked, warmed up, measured."""

import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from certisolve import wire
from certisolve_server.artifacts import ArtifactError, GoldenCase, golden_cases
from certisolve_server.jobs import Artifact, Lane, Work

from .base import AbstractEngine
from .device import AbstractDevice
from .families import open_engine
from .program import ProgramError
from .stepping import SteppingEngine

#: A larger batch is refused when its requests take this much longer than in the best one: below,
#: what it saves outside the program outweighs what it costs, and timings are no more certain.
_TOO_SLOW = 1.25
#: Batches up to this size are never refused; a disturbed measurement would cost too much.
_ALWAYS_ALLOWED = 8
#: A batch that takes less than this delays nobody noticeably, however its requests compare.
_UNNOTICED_S = 0.002
#: Runs of which the fastest counts: others were disturbed.
_REPEATS = 3
#: Seconds after which no larger batch of one resolution is tried.
_MEASURE_S = 0.25

Shapes = tuple[tuple[int, ...], ...]
Engine = AbstractEngine | SteppingEngine


class Pace(NamedTuple):
    """How requests of one shape are best run.

    Attributes:
        max_batch_size: the most to put into one forward pass.
        step_s: measured seconds of a pass, by batch size, ascending.
    """

    max_batch_size: int
    step_s: dict[int, float]

    def expected_s(self, batch_size: int) -> float:
        """Seconds a pass of this size takes at most; infinity if nothing like it was measured."""
        return next((s for size, s in self.step_s.items() if size >= batch_size), math.inf)


class LoadedEngine(NamedTuple):
    """An engine, and its measured pace by input shapes."""

    engine: Engine
    paces: dict[Shapes, Pace]

    def pace(self, shapes: Shapes) -> Pace:
        """How requests of these shapes are best run; as the manifest allows if not measured."""
        limit = self.engine.artifact.manifest.max_batch_size
        return self.paces.get(shapes) or Pace(limit, {})

    def batch_sizes(self, lane: Lane) -> tuple[int, ...]:
        """Allowed sizes of a batch that is stepped, ascending; the last is the number of slots."""
        largest = self.pace(lane.shapes).max_batch_size
        return tuple(sorted({self.engine.device.padded(n) for n in range(1, largest + 1)}))

    def expected_s(self, shapes: Shapes, batch_size: int) -> float:
        """Seconds a batch takes at most; infinity where its requests decide that themselves."""
        if self.engine.artifact.manifest.family != "map":
            return math.inf
        return self.pace(shapes).expected_s(batch_size)


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
            _check_golden(engine, case)
            rows = _rows(engine, case)
            paces[_shapes(engine, rows)] = _measure_pace(engine, rows, _work(engine, case))
    except ArtifactError as error:
        raise ProgramError(str(error)) from error
    return LoadedEngine(engine, paces)


def _check_golden(engine: Engine, case: GoldenCase) -> None:
    manifest = engine.artifact.manifest
    step = _launch(engine, case, _rows(engine, case))
    if len(step) != len(manifest.outputs):
        raise ProgramError(f"{_where(engine, case)}: {len(step)} outputs, not as in the manifest")
    for spec, actual in zip(manifest.outputs, step, strict=True):
        expected = case.outputs.get(spec.name)
        if expected is None or expected.shape != actual.shape:
            raise ProgramError(f"{_where(engine, case)}: {spec.name} has shape {actual.shape}")
        if actual.dtype != wire.DTYPES[spec.dtype]:
            raise ProgramError(f"{_where(engine, case)}: {spec.name} is {actual.dtype}")
        error = _rel_l2(actual, expected, case.outputs[manifest.yardstick(spec.name)])
        if not error <= manifest.golden_tolerance:
            raise ProgramError(
                f"{_where(engine, case)}: {spec.name} is off its golden value by {error:.2e} "
                f"(relative L2), more than {manifest.golden_tolerance:.0e}"
            )


def _launch(
    engine: Engine, case: GoldenCase, columns: list[list[NDArray[Any]]]
) -> list[NDArray[Any]]:
    work = [_work(engine, case)] * len(columns[0])
    try:
        step = engine.launch(columns, work).wait()
        rows = [step.row(row) for row in range(step.batch_size)]
        return [np.stack(column) for column in zip(*rows, strict=True)]
    except Exception as error:
        raise ProgramError(f"{_where(engine, case)}: the program failed: {error}") from error


def _rows(engine: Engine, case: GoldenCase) -> list[list[NDArray[Any]]]:
    manifest = engine.artifact.manifest
    passed = [spec.name for spec in manifest.parameters if spec.program_input]
    names = [*(spec.name for spec in manifest.inputs), *passed]
    missing = [name for name in names if name not in case.inputs]
    if missing:
        raise ProgramError(f"{_where(engine, case)}: no golden input {missing[0]!r}")
    return [list(case.inputs[name]) for name in names]


def _work(engine: Engine, case: GoldenCase) -> Work:
    """As many steps as there are golden frames."""
    manifest = engine.artifact.manifest
    golden = case.outputs.get(manifest.outputs[0].name)
    if manifest.stepping is None or golden is None or golden.ndim < 2:
        return Work()
    return Work(steps=tuple(range(1, golden.shape[1] + 1)))


def _shapes(engine: Engine, columns: list[list[NDArray[Any]]]) -> Shapes:
    inputs = columns[: len(engine.artifact.manifest.inputs)]
    return tuple(column[0].shape for column in inputs)


def _measure_pace(engine: Engine, columns: list[list[NDArray[Any]]], work: Work) -> Pace:
    limit = engine.artifact.manifest.max_batch_size
    step_s: dict[int, float] = {}
    size, give_up_at = 1, time.perf_counter() + _MEASURE_S
    while size <= limit and time.perf_counter() < give_up_at:
        rows = [column[:1] * size for column in columns]
        step_s[size] = _measure_step(engine, rows, [work] * size)
        size *= 2
    too_slow = _TOO_SLOW * min(time_s / size for size, time_s in step_s.items())
    worthwhile = [n for n, s in step_s.items() if s / n <= too_slow or s < _UNNOTICED_S]
    return Pace(max(*worthwhile, min(_ALWAYS_ALLOWED, limit)), step_s)


def _measure_step(engine: Engine, columns: list[list[NDArray[Any]]], work: list[Work]) -> float:
    times = []
    for _ in range(1 + _REPEATS):
        started_at = time.perf_counter()
        engine.launch(columns, work).wait()
        times.append(time.perf_counter() - started_at)
    return min(times[1:])


def _rel_l2(actual: NDArray[Any], expected: NDArray[Any], yardstick: NDArray[Any]) -> float:
    scale = np.linalg.norm(yardstick.astype(np.float64))
    difference = np.linalg.norm(actual.astype(np.float64) - expected.astype(np.float64))
    return float(difference / scale) if scale else float(difference)


def _where(engine: Engine, case: GoldenCase) -> str:
    manifest = engine.artifact.manifest
    return f"{manifest.name}/{manifest.version}, golden case {case.name}"
