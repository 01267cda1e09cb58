"""Programs that look at an answer and say how far it is off."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from certisolve.manifest import Checks

from .program import AbstractProgram, ProgramError


class Checker:
    """Runs the checks of a manifest.

    Arguments:
        checks: names what is found; None for a model without checks.
        program: the one that looks.
    """

    def __init__(self, checks: Checks | None, program: AbstractProgram | None) -> None:
        self._names = checks.names if checks else ()
        self._program = program

    def __call__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        findings: Mapping[str, Tensor] = {},
    ) -> dict[str, Tensor]:
        """What is found about answers, of shape (batch,), float64, by name.

        Args:
            inputs: of the manifest, then its parameters, each with a batch dimension.
            outputs: likewise, with frames where the model advances in time.
            findings: what is known already. What a post-processor has mended is worth knowing,
                though the answer now obeys: of two numbers under one name the larger counts.

        Raises:
            ProgramError: the program returns another number of things, or not one per row.
        """
        if self._program is None:
            return {}
        found: dict[str, Tensor] = {}
        for name, result in zip(self._names, self._program(*inputs, *outputs), strict=True):
            if result.shape != (len(inputs[0]),):
                raise ProgramError(f"a check of {len(inputs[0])} rows: {tuple(result.shape)}")
            value = result.double()
            before = findings.get(name)
            found[name] = value if before is None else torch.maximum(before.to(value), value)
        return found

    def __bool__(self) -> bool:
        return self._program is not None
