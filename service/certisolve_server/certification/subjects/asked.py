"""A request beside the model that it is of, and the map that is made of both."""

import math
from dataclasses import dataclass

from torch.export import ExportedProgram

from certisolve.manifest import Manifest
from certisolve_server import horizon
from certisolve_server.certification.request import CertifyRequest
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Subject as Map
from certisolve_server.errors import InvalidOption, OutOfRange

from .networks import Reading
from .variables import Variables


@dataclass(frozen=True, eq=False)
class Described:
    """A map, in words too.

    Attributes:
        map: a graph, or a flow.
        text: which map it is.
        beyond_horizon: whether it goes further than errors were measured.
    """

    map: Map
    text: str
    beyond_horizon: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """A request that was checked, and what it is of.

    Attributes:
        request: as it came.
        manifest: of the model.
        program: of the model.
        inputs: checked.
        output: name of the one that is asked for.
        reading: gives graphs of the program.
    """

    request: CertifyRequest
    manifest: Manifest
    program: ExportedProgram
    inputs: Variables
    output: str
    reading: Reading = prepare

    @property
    def is_literal(self) -> bool:
        """Whether graphs are of what is executed, each operator as it is."""
        return self.reading is not prepare

    @property
    def varying(self) -> str:
        """Names of what varies, for people."""
        return ", ".join(self.inputs.varying)

    @property
    def grid(self) -> str:
        """The resolution, for people; empty without grid axes."""
        sizes = [f"{name} = {self.inputs.sizes[name]}" for name in self.manifest.grid_axes]
        return f" at {', '.join(sizes)}" if sizes else ""

    @property
    def postprocesses(self) -> str:
        """What is done to the output, for people; empty for nothing."""
        kinds = [
            each.kind
            for each in self.manifest.postprocess
            if self.output in (each.output, each.deviation)
        ]
        return f" with its post-processing ({', '.join(kinds)})" if kinds else ""

    def steps(self) -> int:
        """How many are asked for, by their number or by the time that they take; one by default.

        Raises:
            InvalidOption: both are named, or less than one step.
            OutOfRange: more than any request may go, or a time between steps.
        """
        number, t = self.request.steps, self.request.t
        if number is None and t is None:
            return 1
        return horizon.wanted(None if t is None else (t,), self.manifest, steps=number).steps[-1]

    def refuse_steps(self) -> None:
        """Refuse a number of steps for a model that takes none of one size.

        Raises:
            InvalidOption: there is one.
        """
        horizon.check_steps(self.manifest, steps=self.request.steps)

    def duration(self, default: float) -> float:
        """For how long a flow goes.

        Raises:
            InvalidOption: of one value of the state alone.
            OutOfRange: no time.
        """
        if self.request.component is not None:
            raise InvalidOption(
                "flows are certified as a whole; weigh components by output_scale instead",
                field="component",
            )
        duration = default if self.request.t is None else self.request.t
        if not 0.0 <= duration < math.inf:
            raise OutOfRange(f"{duration}: name a time, 0 or more", field="t")
        return duration


def counted(number: int, noun: str) -> str:
    """For people: one step, two steps."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
