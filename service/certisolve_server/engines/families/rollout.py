"""`rollout` and `memory-rollout`: a pass per step, its frame fed back."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from certisolve_server.engines.base import AbstractEngine, Answer
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import Programs
from certisolve_server.jobs import Artifact, Work

from .network import Network, Returned
from .wanted_frames import WantedFrames


class RolloutEngine(AbstractEngine):
    """Steps a batch as far as the furthest request wants; every other has its frames on the way.

    A history goes through the program frame by frame, which fills the states; what is predicted
    for frames that are known is dropped.
    """

    def __init__(self, artifact: Artifact, device: AbstractDevice, programs: Programs) -> None:
        super().__init__(artifact, device, programs.checks)
        manifest = artifact.manifest
        self._network = Network(manifest, programs.network)
        names = [spec.name for spec in manifest.inputs]
        self._num_inputs = len(names)
        self._carried = {
            names.index(spec.name): index
            for index, spec in enumerate(manifest.outputs)
            if spec.name in names
        }
        self._histories = [
            index
            for index, spec in enumerate(manifest.inputs)
            if manifest.frame_axes(spec) != spec.axes
        ]

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        fields, rest = list(inputs[: self._num_inputs]), inputs[self._num_inputs :]
        wanted = WantedFrames([each.steps for each in work], fields[0].device)
        frame, returned = self._after_history(fields, rest)
        findings: list[Mapping[str, Tensor]] = []
        for step in range(1, max(each.steps[-1] for each in work) + 1):
            if step > 1:
                frame = self._next_frame(frame, returned)
                returned = self._network(frame, returned.states, rest)
            findings.append(returned.findings)
            wanted.take(step, returned.outputs)
        last = torch.tensor([each.steps[-1] for each in work], device=fields[0].device)
        found = _worst(findings, last) | _evaluations(fields, last, self)
        return Answer(wanted.outputs, found, wanted.num_frames)

    @property
    def histories(self) -> Sequence[int]:
        """Which inputs hold several frames."""
        return self._histories

    def _after_history(
        self, fields: list[Tensor], rest: Sequence[Tensor]
    ) -> tuple[list[Tensor], Returned]:
        """The last known frame, and what the program makes of it."""
        length = max((fields[index].shape[1] for index in self._histories), default=1)
        states: Sequence[Tensor] = self._initial_states(fields)
        for position in range(length):
            frame = [
                field[:, position] if index in self._histories else field
                for index, field in enumerate(fields)
            ]
            returned = self._network(frame, states, rest)
            states = returned.states
        return frame, returned

    def _next_frame(self, frame: list[Tensor], returned: Returned) -> list[Tensor]:
        return [
            returned.outputs[self._carried[index]] if index in self._carried else field
            for index, field in enumerate(frame)
        ]

    def _initial_states(self, fields: Sequence[Tensor]) -> list[Tensor]:
        manifest = self.artifact.manifest
        assert manifest.stepping is not None
        sizes = {name: axis.size for name, axis in manifest.axes.items() if axis.size is not None}
        for spec, field in zip(manifest.inputs, fields, strict=True):
            sizes |= dict(zip(spec.axes, field.shape[1:], strict=True))
        return [
            fields[0].new_zeros(len(fields[0]), *(sizes[axis] for axis in spec.axes))
            for spec in manifest.stepping.states
        ]


def _worst(findings: Sequence[Mapping[str, Tensor]], last: Tensor) -> dict[str, Tensor]:
    """Of each finding the largest up to the last step of a row: later ones are not its own."""
    return {
        name: torch.stack([each[name] for each in findings], dim=1)
        .cummax(dim=1)
        .values.gather(1, last.unsqueeze(1) - 1)
        .squeeze(1)
        for name in (findings[0] if findings else ())
    }


def _evaluations(
    fields: Sequence[Tensor], last: Tensor, engine: RolloutEngine
) -> dict[str, Tensor]:
    known = max((fields[index].shape[1] for index in engine.histories), default=1)
    return {"nfe": (last + known - 1).double()}
