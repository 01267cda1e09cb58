"""What a caller asks to be certified, before it was checked against a manifest; no torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from certisolve_server.jobs import Array

#: In which differences are measured. `grid_l2`: the Euclidean norm with the square root of a cell's
#: volume as weight, which is the norm in L2 of the field and does not depend on the resolution.
NormName = Literal["l1", "l2", "linf", "grid_l2"]

#: Of what a bound holds: of the map on the reals, or of the program that rounds.
SoundnessLevel = Literal["real", "float"]

#: By name of an input or output: one number, or one for each component of its channel axis.
Scales: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class BallDomain:
    """All inputs within a distance of one, of all of them jointly, and within the box if there is.

    Attributes:
        center: by input, each of the shape of a request.
        radius: not negative.
        norm: of the distance, in the units of the inputs: `input_scale` does not count here.
        lower: of the box, by input; an input without an entry has no lower bound.
        upper: likewise.
    """

    center: Mapping[str, Array]
    radius: float
    norm: NormName
    lower: Mapping[str, Array] = field(default_factory=dict)
    upper: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoxDomain:
    """All inputs between two, ends included.

    Attributes:
        lower: by input, each of the shape of a request.
        upper: likewise.
    """

    lower: Mapping[str, Array]
    upper: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class GlobalDomain:
    """All inputs there are: those of the manifest that the request does not keep as they are."""


Domain: TypeAlias = BallDomain | BoxDomain | GlobalDomain


@dataclass(frozen=True, slots=True)
class CertifyRequest:
    """For which map, on which set and in which norms a Lipschitz bound is asked for.

    Attributes:
        model: name.
        version: None for the newest.
        domain: where the inputs that vary lie.
        inputs: those that stay as they are, by name.
        parameters: of the equation, by name; the manifest's defaults for those left out.
        resolution: sizes of the grid axes in the manifest's order, of `GlobalDomain`; None for the
            first validated ones. Elsewhere the inputs say it.
        input_norm: of differences of inputs; None for that of the domain, or else l2.
        output_norm: of differences of outputs; None likewise.
        input_scale: in units of which inputs are measured; those left out in 1.
        output_scale: likewise of the output.
        output: name; None for the first.
        component: flat index of the one value of the output that is meant; None for all.
        soundness: of what the bound shall hold.
        budget_s: seconds of search.
        gap: upper / lower at which the search may stop.
        max_splits: at most so many cuts of the domain; None for what the budget allows.
        steps: of families that go on by steps; None for one.
        t: seconds, of families that integrate; None for those of the manifest.
        seed: of whatever the search draws.
    """

    model: str
    domain: Domain
    version: str | None = None
    inputs: Mapping[str, Array] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    resolution: tuple[int, ...] | None = None
    input_norm: NormName | None = None
    output_norm: NormName | None = None
    input_scale: Scales = field(default_factory=dict)
    output_scale: Scales = field(default_factory=dict)
    output: str | None = None
    component: int | None = None
    soundness: SoundnessLevel = "real"
    budget_s: float = 10.0
    gap: float = 1.001
    max_splits: int | None = None
    steps: int | None = None
    t: float | None = None
    seed: int = 0

    @property
    def norms(self) -> tuple[NormName, NormName]:
        """Of inputs and of outputs."""
        default: NormName = self.domain.norm if isinstance(self.domain, BallDomain) else "l2"
        return self.input_norm or default, self.output_norm or default
