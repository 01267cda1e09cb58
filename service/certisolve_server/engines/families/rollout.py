"""`rollout` and `memory-rollout`: a pass per step, its frame fed back."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from certisolve import wire
from certisolve.manifest import TensorSpec
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import AbstractProgram
from certisolve_server.engines.stepping.fixed_course import FixedCourse
from certisolve_server.engines.stepping.fixed_stepper import AbstractFixedStepper
from certisolve_server.engines.stepping.stepper import Rows, Stepped
from certisolve_server.jobs import Artifact, Lane, SolveJob, Work

from .network import Network


class RolloutStepper(AbstractFixedStepper):
    """One pass of the program per step.

    Rows are the `inputs` as the program takes them next, the `states`, the `parameters`, and
    histories longer than a frame. These go through the program frame by frame, which fills the
    states; what is predicted for frames that are known is dropped. A move is the number of passes
    that a row has made.
    """

    def __init__(
        self, artifact: Artifact, device: AbstractDevice, program: AbstractProgram
    ) -> None:
        super().__init__(device)
        manifest = artifact.manifest
        assert manifest.stepping is not None
        self._manifest, self._stepping = manifest, manifest.stepping
        self._network = Network(manifest, program)
        outputs = [spec.name for spec in manifest.outputs]
        self._inputs = [f"input.{spec.name}" for spec in manifest.inputs]
        self._states = [f"state.{spec.name}" for spec in manifest.stepping.states]
        self._parameters = [
            f"parameter.{spec.name}" for spec in manifest.parameters if spec.program_input
        ]
        #: Rows of inputs that outputs feed, and which of them.
        self._fed = {
            f"input.{spec.name}": outputs.index(spec.name)
            for spec in manifest.inputs
            if spec.name in outputs
        }
        self._histories = [
            index
            for index, spec in enumerate(manifest.inputs)
            if manifest.frame_axes(spec) != spec.axes
        ]

    def init(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], work: Sequence[Work]
    ) -> Rows:
        del work
        fields, parameters = inputs[: len(self._inputs)], inputs[len(self._inputs) :]
        rows = dict(zip(self._inputs, fields, strict=True))
        for index in self._histories:
            name, history = self._inputs[index], fields[index]
            rows[name] = history[:, 0]
            if history.shape[1] > 1:
                rows[f"history.{name}"] = history
        rows |= zip(self._states, self._beginning(fields, states), strict=True)
        return rows | dict(zip(self._parameters, parameters, strict=True))

    def step(self, rows: Rows, moves: Sequence[int]) -> Stepped:
        returned = self._network(
            [rows[name] for name in self._inputs],
            [rows[name] for name in self._states],
            [rows[name] for name in self._parameters],
        )
        after = dict(rows)
        after |= zip(self._states, returned.states, strict=True)
        for name, output in self._fed.items():
            after[name] = returned.outputs[output]
        for index in self._histories:
            name = self._inputs[index]
            if f"history.{name}" in rows:
                after[name] = _known(after[name], rows[f"history.{name}"], moves)
        return Stepped(after, returned.outputs, returned.findings)

    def course(self, job: SolveJob) -> FixedCourse:
        return FixedCourse(
            job,
            dt=self._stepping.dt,
            warm_up=self._num_known([array.shape for array in job.inputs]) - 1,
            findings=lambda passes: {"nfe": float(passes)},
        )

    def kept(self, rows: Rows, row: int, course: FixedCourse) -> Sequence[Tensor]:
        del course
        return [rows[name][row] for name in self._states]

    def state_bytes(self, lane: Lane) -> int:
        """Every tensor once, and those that a step replaces a second time."""
        sizes = self._sizes(lane.shapes)
        frames = [
            _num_bytes(spec, self._manifest.frame_axes(spec), sizes)
            for spec in self._manifest.inputs
        ]
        states = [_num_bytes(spec, spec.axes, sizes) for spec in self._stepping.states]
        outputs = [_num_bytes(spec, spec.axes, sizes) for spec in self._manifest.outputs]
        known = self._num_known(lane.shapes)
        histories = sum(known * frames[index] for index in self._histories) if known > 1 else 0
        return sum(frames) + histories + 2 * sum(states) + 2 * sum(outputs)

    def _num_known(self, shapes: Sequence[Sequence[int]]) -> int:
        """Frames of a history.

        Raises:
            ValueError: histories are of different lengths.
        """
        lengths = {shapes[index][0] for index in self._histories} or {1}
        if len(lengths) > 1:
            raise ValueError(f"histories of {sorted(lengths)} frames")
        return lengths.pop()

    def _beginning(self, fields: Sequence[Tensor], states: Sequence[Tensor]) -> Sequence[Tensor]:
        """The states of sessions that go on, and zeros for those who begin anew.

        Raises:
            ValueError: a session's state is another model's.
        """
        sizes = self._sizes([field.shape[1:] for field in fields])
        shapes = [
            (len(fields[0]), *(sizes[axis] for axis in spec.axes)) for spec in self._stepping.states
        ]
        if not states:
            return [fields[0].new_zeros(shape) for shape in shapes]
        if [state.shape for state in states] != shapes:
            raise ValueError(f"states must be of shapes {[shape[1:] for shape in shapes]}")
        return states

    def _sizes(self, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
        """Of every axis, by name."""
        axes = self._manifest.axes.items()
        sizes = {name: axis.size for name, axis in axes if axis.size is not None}
        for spec, shape in zip(self._manifest.inputs, shapes, strict=False):
            sizes |= zip(spec.axes, shape, strict=True)
        return sizes


def _known(predicted: Tensor, history: Tensor, moves: Sequence[int]) -> Tensor:
    """The next frames: predicted where the history is over, and of the history before."""
    length = history.shape[1]
    rows = [row for row, passes in enumerate(moves) if passes + 1 < length]
    if not rows:
        return predicted
    positions = [moves[row] + 1 for row in rows]
    if len(rows) == len(moves) and len(set(positions)) == 1:
        return history[:, positions[0]]
    index = torch.tensor([rows, positions], device=history.device)
    return predicted.index_copy(0, index[0], history[index[0], index[1]])


def _num_bytes(spec: TensorSpec, axes: Sequence[str], sizes: dict[str, int]) -> int:
    itemsize = np.dtype(wire.DTYPES[spec.dtype]).itemsize
    return itemsize * math.prod(sizes.get(axis, 1) for axis in axes)
