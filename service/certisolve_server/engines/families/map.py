"""`map`: one forward pass."""

from collections.abc import Sequence

from torch import Tensor

from certisolve_server.engines.base import AbstractEngine, Answer
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import Programs
from certisolve_server.jobs import Artifact, Work

from .network import Network


class MapEngine(AbstractEngine):
    """The program on the inputs, then the post-processors."""

    def __init__(self, artifact: Artifact, device: AbstractDevice, programs: Programs) -> None:
        super().__init__(artifact, device, programs.checks)
        self._network = Network(artifact.manifest, programs.network)

    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        del work
        outputs, _, findings = self._network(inputs)
        return Answer(outputs, findings)
