"""`feedback-ode`: a learned vector field, corrected by measurements through a cascade of observers.

See `cascade` for the mathematics.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import AbstractProgram
from certisolve_server.engines.stepping.fixed_course import FixedCourse
from certisolve_server.engines.stepping.fixed_stepper import AbstractFixedStepper
from certisolve_server.engines.stepping.stepper import Rows, Stepped
from certisolve_server.horizon import MAX_STEPS
from certisolve_server.jobs import Artifact, Lane, SolveJob, Work

from .cascade import Cascade, Move, Plan
from .pairs import Lengths, pairs_of

_KEPT_PLANS = 32


class FeedbackOdeStepper(AbstractFixedStepper):
    """A pass through the layers that are due, of all slots together.

    Rows are the layers `x` of shape (slot, layer + 1, state), the observers `y` of shape (slot,
    layer, state) and the `measurements`. Slots with fewer layers than others leave the rest unused.
    """

    def __init__(
        self, artifact: Artifact, device: AbstractDevice, program: AbstractProgram
    ) -> None:
        super().__init__(device)
        stepping, feedback = artifact.manifest.stepping, artifact.manifest.feedback
        assert stepping is not None
        assert feedback is not None
        self._field = program
        self._cascade = Cascade(feedback, stepping.dt)
        # Of many jobs plans are the same, and take longer to make than a small pass.
        self._forecast = lru_cache(maxsize=_KEPT_PLANS)(self._cascade.forecast)

    def init(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], work: Sequence[Work]
    ) -> Rows:
        measurements = inputs[0]
        if states:
            return {"x": states[0], "y": states[1], "measurements": measurements}
        num_layers = max(each.steps[-1] for each in work)
        first = measurements[:, :1]
        return {
            "x": pad(first, (0, 0, 0, num_layers)),
            "y": pad(first, (0, 0, 0, num_layers - 1)),
            "measurements": measurements,
        }

    def step(self, rows: Rows, moves: Sequence[Move]) -> Stepped:
        tensors = [rows[name] for name in ("x", "y", "measurements")]
        lengths = Lengths(*(tensor.shape[1] for tensor in tensors))
        x, y, measurements = (tensor.flatten(0, 1) for tensor in tensors)
        pairs = pairs_of(moves, lengths, x, self._device.padded)
        states, observers = x.index_select(0, pairs.x), y.index_select(0, pairs.y)
        [derivative] = self._field(states, observers, pairs.gains)
        ahead = states + pairs.dt_x * derivative
        x = x.index_copy(0, pairs.to_x, ahead.index_select(0, pairs.moving_x))
        if len(pairs.entering):
            x = x.index_copy(0, pairs.to_layers, measurements.index_select(0, pairs.entering))
        moved = observers + pairs.dt_y * derivative
        y = y.index_copy(0, pairs.to_y, moved.index_select(0, pairs.moving_y))
        after = {"x": x.view_as(rows["x"]), "y": y.view_as(rows["y"])}
        return Stepped({**rows, **after}, [ahead.index_select(0, pairs.first)])

    def course(self, job: SolveJob) -> FixedCourse:
        plan = self._plan(job)
        return FixedCourse(
            job,
            dt=self._cascade.dt,
            warm_up=plan.warm_up,
            findings=lambda passes: {
                "nfe": float(plan.num_evaluations(passes)),
                "noise_gain": plan.noise_gain,
            },
            moves=plan.moves.__getitem__,
        )

    def kept(self, rows: Rows, row: int, course: FixedCourse) -> Sequence[Tensor]:
        num_layers = course.job.work.steps[-1]
        return [rows["x"][row, : num_layers + 1], rows["y"][row, :num_layers]]

    def aligned(self, rows: Sequence[Rows]) -> Sequence[Rows]:
        num_layers = max((each["y"].shape[1] for each in rows if each), default=0)
        return [_grown(each, num_layers) if each else each for each in rows]

    def state_bytes(self, lane: Lane) -> int:
        """Measurements, and the layers of the longest horizon, before and after a step."""
        [shape], [dtype] = lane.shapes, lane.dtypes
        num_states = math.prod(shape[1:])
        return np.dtype(dtype).itemsize * num_states * (shape[0] + 2 * (2 * MAX_STEPS + 1))

    def _plan(self, job: SolveJob) -> Plan:
        """Which passes a job takes.

        Raises:
            ValueError: a session that goes on without the state it goes on from, or with another's.
        """
        interval, gain = job.work.interval, job.work.gain
        num_layers = job.work.steps[-1] if job.work.steps else 0
        num_measurements, *shape = job.inputs[0].shape
        if interval is None:
            return self._forecast(num_layers, num_measurements, gain)
        if not job.states:
            if interval > 0:
                raise ValueError("a session that goes on has layers and observers")
            return self._cascade.opening(num_layers, gain)
        expected = [(num_layers + 1, *shape), (num_layers, *shape)]
        if [state.shape for state in job.states] != expected:
            raise ValueError(f"layers and observers must be of shapes {expected}")
        return self._cascade.correction(num_layers, gain, interval)


def _grown(rows: Rows, num_layers: int) -> Rows:
    """The same with room for more layers."""
    missing = num_layers - rows["y"].shape[1]
    if not missing:
        return rows
    return {**rows, **{name: pad(rows[name], (0, 0, 0, missing)) for name in ("x", "y")}}
