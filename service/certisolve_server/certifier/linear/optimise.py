"""A search for slopes whose sweep gives a small bound, by gradient (Xu et al., alpha-CROWN, 2021).

On both graphs at once: the lines of values and the planes of derivatives. Plain floats throughout;
what it finds is bounded anew by whoever uses it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .enclosure import Enclosure
from .objective import Objective
from .slopes import Slopes, scales_of, slopes_of

_STEP = 0.1
_DECAY = 0.98
_MOMENTA = (0.9, 0.99)


def improved_slopes(enclosure: Enclosure, objective: Objective, steps: int) -> Iterator[Slopes]:
    """Ever better slopes for each part of an enclosure; after each step the best so far."""
    start, scales = slopes_of(enclosure), scales_of(enclosure)
    moved = {number: torch.zeros_like(each) for number, each in start.layers.items()}
    momenta = {
        number: (torch.zeros_like(each), torch.zeros_like(each)) for number, each in moved.items()
    }
    best = {number: each.clone() for number, each in start.layers.items()}
    least = torch.full((len(enclosure.is_empty),), torch.inf, dtype=torch.float64)
    for step in range(1, steps + 1):
        bounds, gradients = _differentiated(enclosure, objective, start, scales, moved)
        improves = bounds < least
        least = torch.where(improves, bounds, least)
        for number, each in moved.items():
            now = start.layers[number] + scales.layers[number] * each
            best[number] = torch.where(improves[:, None, None], now, best[number])
            momenta[number] = _adam(each, gradients[number], momenta[number], step)
        yield Slopes(dict(best))


def _differentiated(
    enclosure: Enclosure,
    objective: Objective,
    start: Slopes,
    scales: Slopes,
    moved: dict[int, Tensor],
) -> tuple[Tensor, dict[int, Tensor]]:
    """The bounds of all parts, and their gradients by how far slopes are moved."""
    with torch.enable_grad():
        variables = {number: each.detach().requires_grad_() for number, each in moved.items()}
        slopes = Slopes(
            {n: start.layers[n] + scales.layers[n] * each for n, each in variables.items()}
        )
        bounds = objective.rows(enclosure, slopes.relaxation(enclosure), rigorous=False)
        gradients = torch.autograd.grad(bounds.sum(), list(variables.values()), allow_unused=True)
    # Without influence, or of a bound that overflows, a slope stays where it is.
    known = {
        number: torch.zeros_like(each) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
        for (number, each), gradient in zip(moved.items(), gradients, strict=True)
    }
    return bounds.detach(), known


def _adam(
    moved: Tensor, gradient: Tensor, momenta: tuple[Tensor, Tensor], step: int
) -> tuple[Tensor, Tensor]:
    """One step of Adam (Kingma and Ba, 2015), in place, each neuron by its own gradient's size."""
    first = _MOMENTA[0] * momenta[0] + (1 - _MOMENTA[0]) * gradient
    second = _MOMENTA[1] * momenta[1] + (1 - _MOMENTA[1]) * gradient.square()
    size = (second / (1 - _MOMENTA[1] ** step)).sqrt() + 1e-30
    moved -= _STEP * _DECAY**step * first / (1 - _MOMENTA[0] ** step) / size
    return first, second
