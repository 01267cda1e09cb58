"""How requests of one shape are best run: measured, at load."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from certisolve_server.jobs import Work

from .base import AbstractEngine
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

Columns = Sequence[Sequence[NDArray[Any]]]


class Pace(NamedTuple):
    """How requests of one shape are best run.

    Attributes:
        max_batch_size: the most to put into one forward pass, or into one step.
        step_s: measured seconds of a pass or step, by batch size, ascending.
    """

    max_batch_size: int
    step_s: dict[int, float]

    def expected_s(self, batch_size: int) -> float:
        """Seconds a pass of this size takes at most; infinity if nothing like it was measured."""
        return next((s for size, s in self.step_s.items() if size >= batch_size), math.inf)


def measure_pace(engine: AbstractEngine | SteppingEngine, columns: Columns, work: Work) -> Pace:
    """The pace of an engine on many copies of one request.

    Args:
        engine: to be measured.
        columns: per input of the manifest and parameter of the program, requests.
        work: what is asked of each.
    """
    limit = engine.artifact.manifest.max_batch_size
    step_s: dict[int, float] = {}
    size, give_up_at = 1, time.perf_counter() + _MEASURE_S
    while size <= limit and time.perf_counter() < give_up_at:
        rows = [[*column[:1]] * size for column in columns]
        step_s[size] = min(_times(engine, rows, [work] * size, give_up_at))
        size *= 2
    too_slow = _TOO_SLOW * min(time_s / size for size, time_s in step_s.items())
    worthwhile = [n for n, s in step_s.items() if s / n <= too_slow or s < _UNNOTICED_S]
    return Pace(max(*worthwhile, min(_ALWAYS_ALLOWED, limit)), step_s)


def _times(
    engine: AbstractEngine | SteppingEngine,
    columns: Columns,
    work: Sequence[Work],
    give_up_at: float,
) -> Iterator[float]:
    """Seconds of a pass or step, at least once; after a run that warms up."""
    for repeat in range(1 + _REPEATS):
        if isinstance(engine, SteppingEngine):
            step_s = _step_s(engine, columns, work)
        else:
            step_s = _pass_s(engine, columns, work)
        if repeat:
            yield step_s
            if time.perf_counter() >= give_up_at:
                return


def _pass_s(engine: AbstractEngine, columns: Columns, work: Sequence[Work]) -> float:
    started_at = time.perf_counter()
    engine.launch(columns, work).wait()
    return time.perf_counter() - started_at


def _step_s(engine: SteppingEngine, columns: Columns, work: Sequence[Work]) -> float:
    """The mean over all steps of jobs that begin, and end, together."""
    bank, size = engine.open_bank(), len(work)
    jobs = [engine.job(row, each) for *row, each in zip(*columns, work, strict=True)]
    bank.lay_out([], [], [(job, slot) for slot, job in enumerate(jobs)])
    padded = engine.device.padded(size)
    run = bank.run(range(size), padded, interrupted=lambda: False, max_s=math.inf)
    return 1e-3 * run.compute_ms / max(run.num_steps, 1)
