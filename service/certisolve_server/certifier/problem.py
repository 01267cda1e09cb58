"""What is asked: of which map, on which set, in which norms."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from .domain import Boxes
from .errors import InvalidRequest, NotCertified
from .graph.node import Graph
from .norms import Norms
from .region import Region, hull


@dataclass(frozen=True, eq=False)
class Flow:
    """The map x(0) -> x(T) of dx/dt = f(x), itself, not of steps that approach it.

    Args:
        field: f, of one varying input and an output of its shape.
        duration: T, in the units of time of the field, not negative.
    """

    field: Graph
    duration: float

    def __post_init__(self) -> None:
        # False of NaN.
        if not 0.0 <= self.duration < float("inf"):
            raise InvalidRequest(f"a duration is finite and not negative, not {self.duration}")


Subject: TypeAlias = Graph | Flow


@dataclass(frozen=True, eq=False)
class Problem:
    """The least L with |f(x) - f(y)| <= L |x - y| for all x, y of the region is to be bounded.

    Attributes:
        shared: what methods compute once for all of them, by name; see `slices.Shared`.
    """

    subject: Subject
    region: Region
    norms: Norms
    shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def graph(self) -> Graph:
        """Of the map, or of the field of a flow: what the region is one of the inputs of."""
        return self.subject.field if isinstance(self.subject, Flow) else self.subject

    @cached_property
    def boxes(self) -> Boxes | None:
        """A box that holds the region; None of everything."""
        return hull(self.region, self.graph)

    def require_map(self) -> Graph:
        """The graph of the map.

        Raises:
            NotCertified: it is a flow, of which a graph is not the map.
        """
        if isinstance(self.subject, Flow):
            raise NotCertified("takes the graph of a map, not a flow")
        return self.subject

    def require_boxes(self) -> Boxes:
        """The box that holds the region.

        Raises:
            NotCertified: the region is everything.
        """
        if self.boxes is None:
            raise NotCertified("takes a bounded set, not everything")
        return self.boxes
