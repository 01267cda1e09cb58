"""What an exported model says about itself: the contract between training, serving and clients.

A model repository holds `<model>/<version>/manifest.json` beside the program and the golden
tensors it names. Exporters write a `Manifest`, servers check it before anything is loaded, and
clients read it through `Client.models()`.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from typing import Literal

from ._decode import DecodeError, decode
from ._manifest_checks import FORMAT_VERSION as FORMAT_VERSION
from ._manifest_checks import check
from ._manifest_error import ManifestError as ManifestError
from ._manifest_parts import Axis as Axis
from ._manifest_parts import Baseline as Baseline
from ._manifest_parts import Checks as Checks
from ._manifest_parts import Feedback as Feedback
from ._manifest_parts import Integration as Integration
from ._manifest_parts import Iteration as Iteration
from ._manifest_parts import ParameterSpec as ParameterSpec
from ._manifest_parts import Postprocess as Postprocess
from ._manifest_parts import Program as Program
from ._manifest_parts import Stepping as Stepping
from ._manifest_parts import TensorSpec as TensorSpec
from ._manifest_parts import Training as Training
from ._manifest_parts import ValidatedResolution as ValidatedResolution

Family = Literal["map", "rollout", "ode", "feedback-ode", "memory-rollout", "iterative-solver"]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a server and a user must know about one version of one model.

    The program takes the inputs in order, then the states, then the parameters with
    `program_input`, each with a leading batch dimension, and returns the outputs in order, then
    the states.

    Attributes:
        equation: the differential equation or formula, in Unicode.
        family: how requests are executed. `map`: one forward pass. `rollout`, `memory-rollout`: a
            pass per step, see `Stepping`. `ode`: a vector field and an integrator, see
            `Integration`. `feedback-ode`: a cascade of observers, see `Feedback`.
            `iterative-solver`: see `Iteration`.
        axes: by name; the grid axes' names are those of `resolutions.sizes`.
        t: times at which the outputs hold; empty for a stationary problem. Families that advance
            in time answer at any multiples of `stepping.dt`, the family `ode` at any times, these
            where the caller names none, and their outputs have an axis `t` in front of those that
            `outputs` lists.
        unvalidated_resolution: what to do with a grid size outside `resolutions`: `refuse`, or
            `resample` spectrally to the nearest validated one and say so in the reply.
        batch_tolerance: largest relative L2 difference between an answer computed alone and in a
            batch, measured at export.
        golden_tolerance: largest relative L2 difference between the loaded program's outputs and
            the golden ones.
        max_batch_size: most requests in one forward pass.
        stepping: of the families that advance by steps of one size.
        integration: of the family `ode`.
        feedback: of the family `feedback-ode`.
        iteration: of the family `iterative-solver`.
        postprocess: applied to the program's outputs in this order.
        checks: run on every answer, unless the caller wants no diagnostics.
        files: SHA-256 in hex of every other file of the artifact, by name.
    """

    name: str
    version: str
    title: str
    description: str
    equation: str
    family: Family
    licence: str
    program: Program
    axes: dict[str, Axis]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    resolutions: tuple[ValidatedResolution, ...]
    unvalidated_resolution: Literal["refuse", "resample"]
    batch_tolerance: float
    golden_tolerance: float
    max_batch_size: int
    files: dict[str, str]
    parameters: tuple[ParameterSpec, ...] = ()
    t: tuple[float, ...] = ()
    stepping: Stepping | None = None
    integration: Integration | None = None
    feedback: Feedback | None = None
    iteration: Iteration | None = None
    postprocess: tuple[Postprocess, ...] = ()
    checks: Checks | None = None
    baselines: tuple[Baseline, ...] = ()
    training: Training | None = None
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        """Refuse a manifest that contradicts itself.

        Raises:
            ManifestError: with the key at fault.
        """
        check(self)

    @functools.cached_property
    def grid_axes(self) -> tuple[str, ...]:
        """Names of the discretised dimensions, in declaration order."""
        return tuple(name for name, axis in self.axes.items() if axis.kind == "grid")

    @property
    def advances(self) -> bool:
        """Whether outputs have an axis `t` of the times that were asked for."""
        return self.stepping is not None or self.integration is not None

    @property
    def differentiable(self) -> bool:
        """Whether derivatives of solutions can be asked for.

        Those of a linear system follow from its operator, whatever proposes its directions.
        """
        program = self.iteration.operator if self.iteration else self.program
        return program.format == "torch.export"

    @functools.cached_property
    def programs(self) -> tuple[Program, ...]:
        """The executable parts, the network first."""
        operator = (self.iteration.operator,) if self.iteration else ()
        checks = (self.checks.program,) if self.checks else ()
        return self.program, *operator, *checks

    def frame_axes(self, spec: TensorSpec) -> tuple[str, ...]:
        """Axes of an input as the program takes it: of one frame, where a history is sent."""
        history = self.stepping and spec.axes and self.axes[spec.axes[0]].kind == "points"
        return spec.axes[1:] if history else spec.axes

    def yardstick(self, output: str) -> str:
        """Name of the output whose size differences of `output` are compared with.

        Its own, but for the deviation of an ensemble: a difference of nearly equal members, which
        is as sure as they are.
        """
        fields = {each.deviation: each.output for each in self.postprocess}
        return fields.get(output, output)

    @classmethod
    def from_json(cls, document: bytes | str, *, strict: bool = True) -> "Manifest":
        """The manifest in a JSON document.

        Args:
            document: contents of `manifest.json`.
            strict: whether an unknown key is an error (servers) or skipped (older clients).

        Raises:
            ManifestError: not JSON, a key missing, unknown or of the wrong type.
        """
        try:
            return decode(cls, _parse(document), strict=strict)
        except (DecodeError, OverflowError, RecursionError) as error:
            raise ManifestError(str(error)) from error

    def to_json(self) -> str:
        """The JSON document that `from_json` reads, indented for people."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def _parse(document: bytes | str) -> object:
    try:
        return json.loads(document)
    except ValueError as error:  # not JSON, not UTF-8, or an integer beyond all measure
        raise ManifestError(str(error)) from error
