"""What may refute a bound: pairs of inputs, sampled and attacked, and how far outputs are apart."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from certisolve_server.certifier.falsify.ascent import climb, start
from certisolve_server.certifier.falsify.space import Space
from certisolve_server.certifier.falsify.target import Target
from certisolve_server.certifier.norms import Norms

_ORDERS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}

#: Float64 against reals: far more than its error, far less than what an unsound bound is off by.
ROUNDING = 1.0 + 1e-9

#: Of outputs in float64, relative to their size.
_ROUNDED = 64 * torch.finfo(torch.float64).eps

Pairs = tuple[Tensor, Tensor]


def sampled(target: Target, count: int, generator: torch.Generator) -> Pairs:
    """Points of the region with partners at all distances, down to a millionth of the region."""
    one, other = (target.space.sample(count, generator) for _ in range(2))
    share = 10.0 ** (-6.0 * torch.rand(count, 1, generator=generator, dtype=torch.float64))
    return one, target.space.project(one + share * (other - one))


def attacked(target: Target, count: int, steps: int, generator: torch.Generator) -> Iterator[Pairs]:
    """Points on their way to where the map is steepest, each with one in its steepest direction."""
    state = start(target.slopes, target.hard(), target.space.sample(count, generator), 2, generator)
    for reached in climb(target.slopes, target.annealed(steps), target.space, state):
        yield _partners(target.space, reached.points, reached.v / target.slopes.input_weights)


def slopes(target: Target, pairs: Pairs, norms: Norms | None = None) -> Tensor:
    """|f(x) - f(y)| / |x - y| of each pair, in float64; 0 where they are too close to tell.

    Less what rounding makes of f, which pairs that are close divide by little.
    """
    one, other = pairs
    measured = target.slopes.norms if norms is None else norms
    with torch.no_grad():
        function = target.hard()
        images = [function(each) * target.slopes.output_weights for each in pairs]
    sizes = _length((one - other) * target.slopes.input_weights, _ORDERS[measured.inputs])
    order = _ORDERS[measured.outputs]
    noise = _ROUNDED * sum(_length(image, order) for image in images)
    moved = (_length(images[0] - images[1], order) - noise).clamp(min=0.0)
    scale = 1.0 + one.abs().amax(1) if one.shape[1] else torch.ones(len(one))
    known = torch.where(sizes > 1e-7 * scale, moved / sizes.clamp(min=1e-300), 0.0)
    return known.nan_to_num(0.0, 0.0)


def _partners(space: Space, points: Tensor, directions: Tensor) -> Pairs:
    reach = space.halfwidth.amax() if space.is_bounded else 1.0 + points.abs().amax()
    size = directions.abs().amax(1, keepdim=True).clamp(min=1e-300)
    forward = space.project(points + 1e-3 * reach * directions / size)
    # At the boundary there is only one way to go.
    backward = space.project(points - 1e-3 * reach * directions / size)
    stuck = (forward == points).all(1, keepdim=True)
    return points, torch.where(stuck, backward, forward)


def _length(vectors: Tensor, order: float) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(vectors, order, 1)
    return size
