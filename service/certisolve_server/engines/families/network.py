"""A program together with its post-processors."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from certisolve.manifest import Manifest
from certisolve_server.engines.postprocess import Outputs, postprocesses
from certisolve_server.engines.program import AbstractProgram, ProgramError


class Returned(NamedTuple):
    """One pass.

    Attributes:
        outputs: in the manifest's order.
        states: likewise.
        findings: of the post-processors, of shape (batch,), by name.
    """

    outputs: Sequence[Tensor]
    states: Sequence[Tensor]
    findings: dict[str, Tensor]


class Network:
    """What is run once per step.

    Arguments:
        manifest: names what goes in and comes out.
        program: takes inputs, states and parameters, returns outputs and states.
    """

    def __init__(self, manifest: Manifest, program: AbstractProgram) -> None:
        self._program = program
        self._postprocesses = postprocesses(manifest)
        self._taken = [spec.name for spec in manifest.inputs]
        self._names = [spec.name for spec in manifest.outputs]
        made = {each.deviation for each in manifest.postprocess if each.kind == "ensemble"}
        self._returned = [name for name in self._names if name not in made]

    def __call__(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor] = (), rest: Sequence[Tensor] = ()
    ) -> Returned:
        """The outputs as they are returned to callers.

        Args:
            inputs: of the manifest; where there are no states, its parameters may follow.
            states: of the manifest.
            rest: parameters.

        Raises:
            ProgramError: the program returns another number of tensors than the manifest names.
        """
        returned = self._program(*inputs, *states, *rest)
        if len(returned) != len(self._returned) + len(states):
            count = len(returned) - len(states)
            raise ProgramError(f"{count} outputs, not {len(self._returned)} as in the manifest")
        count = len(self._returned)
        if not self._postprocesses:
            return Returned(returned[:count], returned[count:], {})
        outputs = Outputs(dict(zip(self._returned, returned[:count], strict=True)), {})
        by_name = dict(zip(self._taken, inputs, strict=False))
        for postprocess in self._postprocesses:
            outputs = postprocess(outputs, by_name)
        fields = [outputs.fields[name] for name in self._names]
        return Returned(fields, returned[count:], outputs.findings)
