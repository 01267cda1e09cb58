"""The engine of a model that answers in many steps."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from certisolve_server.engines.checks import Checker
from certisolve_server.engines.device import AbstractDevice
from certisolve_server.engines.program import AbstractProgram
from certisolve_server.jobs import Artifact, Lane, SolveContext, SolveJob, Work

from .bank import SlotBank, begin
from .stepper import AbstractStepper
from .values import Ended


class SteppingEngine:
    """Opens banks, in which jobs of one model and one lane step together.

    Arguments:
        artifact: whose model this is.
        device: where it runs.
        stepper: of its family.
        checks: looks at answers; None for a model without such a program.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: AbstractDevice,
        stepper: AbstractStepper[Any],
        checks: AbstractProgram | None = None,
    ) -> None:
        self.artifact = artifact
        self.device = device
        self.stepper = stepper
        self._checker = Checker(artifact.manifest.checks, checks)

    def state_bytes(self, lane: Lane) -> int:
        """What a slot of a lane takes on the device."""
        return self.stepper.state_bytes(lane)

    def open_bank(self) -> SlotBank:
        """Slots for jobs of one lane, none of them taken."""
        return SlotBank(self.stepper, self.device, self._examine)

    def prove(self, jobs: Sequence[SolveJob]) -> None:
        """Do what not every answer needs, before somebody does.

        Raises:
            ProgramError: the program cannot do it.
        """
        with self.device.scope():
            self.stepper.prove(begin(self.stepper, self.device, jobs))

    def job(self, row: Sequence[NDArray[Any]], work: Work) -> SolveJob:
        """A job of nobody's: inputs of the manifest, then its parameters."""
        count = len(self.artifact.manifest.inputs)
        return SolveJob(
            id="",
            model=self.artifact.key,
            inputs=tuple(row[:count]),
            parameters=tuple(float(value) for value in row[count:]),
            submitted_at=0.0,
            context=SolveContext((), {}, None, None, diagnostics=False),
            work=work,
        )

    def _examine(self, job: SolveJob, ended: Ended) -> Ended:
        """The answer with what the checks find; it fails where they do."""
        some = bool(ended.outputs) and len(ended.outputs[0]) > 0
        if not self._checker or not job.work.checks or not some:
            return ended
        parameters = (np.asarray(value, np.float32) for value in job.parameters)
        arrays = [*job.inputs, *parameters, *ended.outputs]
        try:
            with self.device.scope():
                tensors = self.device.stage([[array] for array in arrays], 1)
                count = len(tensors) - len(ended.outputs)
                known = {
                    name: torch.tensor([value], dtype=torch.float64)
                    for name, value in ended.findings.items()
                }
                found = self._checker(tensors[:count], tensors[count:], known)
                values = {name: float(value) for name, value in found.items()}
        except Exception as error:
            return Ended(error=error)
        return replace(ended, findings={**ended.findings, **values})


def finish(engine: SteppingEngine, jobs: Sequence[SolveJob]) -> list[Ended]:
    """What jobs of one lane come to when they begin together.

    Raises:
        Exception: what the program raises.
    """
    bank, ended = engine.open_bank(), dict[int, Ended]()
    bank.lay_out([], [], [(job, slot) for slot, job in enumerate(jobs)])
    taken = list(range(len(jobs)))
    while taken:
        size = engine.device.padded(len(taken))
        run = bank.run(range(len(taken)), size, interrupted=lambda: False, max_s=math.inf)
        gone = dict(run.ended)
        ended |= {taken[slot]: each for slot, each in gone.items()}
        size = len(taken) - len(gone)
        gaps = (slot for slot in sorted(gone) if slot < size)
        last = (slot for slot in range(size, len(taken)) if slot not in gone)
        moves = list(zip(last, gaps, strict=True))
        for source, target in moves:
            taken[target] = taken[source]
        del taken[size:]
        bank.lay_out(sorted(gone), moves, [])
    return [ended[index] for index in range(len(jobs))]
