"""What a search for upper bounds sees on its way, proven as a lower bound."""

import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.falsify.proof import Prover
from certisolve_server.certifier.falsify.space import unflat
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.partition import Bounding
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

#: What is seen has to be that much more than what is proven.
_WORTHWHILE = 1.002

#: How far towards the middle of the box a point is moved off its sides: the least that is proven.
_OFF = (1e-12, 1e-9, 1e-6)


class Sighting:
    """Points of steep slopes, told as witnesses.

    Args:
        problem: whose region is a box, or in it.
        bounding: of parts of that box.
    """

    def __init__(self, problem: Problem, bounding: Bounding) -> None:
        self._problem, self._bounding = problem, bounding
        self._prover, self._told = Prover(problem), 0.0

    def witness(self, point: Tensor, lower: float) -> Witness | None:
        """The witness of a point, if it is worth the while and can be proven.

        Args:
            point: (inputs,), of the box.
            lower: what is proven.
        """
        norms, graph = self._problem.norms, self._problem.graph
        direction, size = steepest(self._bounding.jacobian(point), norms)
        if not size > _WORTHWHILE * max(lower, self._told):
            return None
        self._told = size
        low, high = self._bounding.whole
        width = high - low
        if not bool(width.isfinite().all()):
            return None
        for off in _OFF:
            inside = point + off * (low + 0.5 * width - point)
            step = 0.1 * off * float(width.amin()) * direction / direction.abs().amax()
            try:
                return self._prover.witness("direction", unflat(graph, inside), unflat(graph, step))
            except (NotCertified, UnsupportedOperator):
                continue
        return None


def steepest(jacobian: Tensor, norms: Norms) -> tuple[Tensor, float]:
    """A direction in which a matrix is about as long as its norm, and how long it is there."""
    outputs, inputs = jacobian.shape
    outer = _weights(norms, outputs, of_inputs=False)
    inner = _weights(norms, inputs, of_inputs=True)
    scaled = outer.unsqueeze(1) * jacobian / inner
    orders = {"l1": 1.0, "l2": 2.0, "linf": torch.inf}
    rows = {"l1": torch.zeros_like(scaled), "l2": scaled, "linf": scaled.sign()}[norms.inputs]
    leading = torch.linalg.svd(scaled, full_matrices=False).Vh[:1]
    units = torch.eye(inputs, dtype=torch.float64)
    directions = torch.cat([rows, leading, leading.sign(), units])
    lengths = torch.linalg.vector_norm(directions, orders[norms.inputs], 1)
    images = torch.linalg.vector_norm(directions @ scaled.mT, orders[norms.outputs], 1)
    sizes = torch.where(lengths > 0, images / torch.where(lengths > 0, lengths, 1.0), 0.0)
    best = int(sizes.argmax())
    return directions[best] / inner, float(sizes[best])


def _weights(norms: Norms, count: int, of_inputs: bool) -> Tensor:
    weights = norms.input_weights if of_inputs else norms.output_weights
    ones = torch.ones(count, dtype=torch.float64)
    return ones if weights is None else weights.midpoint_radius()[0].expand(count)
