"""Whether a part has any points: multipliers of its cuts that prove that it has none.

On a part s (z - c) >= 0 for each of its cuts at c, s = 1 above and -1 below. If numbers b >= 0 make
sum b s (z - c) negative wherever its bounds hold, there is no such point (Farkas). A linear program
over the inputs finds such numbers; that they prove it, a sweep shows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from certisolve_server.certifier.arithmetic import gamma

from .enclosure import Enclosure
from .inputs import MORE_TERMS
from .parts import Part
from .sweep import affine_bounds, upper_bounds

#: To how many digits multipliers are kept, and which share of the largest is left out.
_DIGITS = 6
_NEGLIGIBLE = 1e-7


def look_inside(enclosure: Enclosure, parts: Sequence[Part]) -> None:
    """Gives each part multipliers that may prove it empty, or else a point far inside of its cuts.

    Args:
        enclosure: of the parts, one after another.
        parts: cut from the region.
    """
    network = enclosure.known.network
    slopes: dict[int, tuple[Tensor, Tensor]] = {}
    for number, layer in enumerate(network.layers, start=1):
        signs = torch.zeros(len(parts), layer.neurons, dtype=torch.float64)
        for i, part in enumerate(parts):
            for cut, is_above in part.cuts():
                if cut.layer == number:
                    signs[i, cut.neuron] = 1.0 if is_above else -1.0
        slopes[number] = affine_bounds(
            enclosure.known, enclosure.relaxation, {number: torch.diag_embed(signs)}
        )
    box = enclosure.known.inputs.box
    ends = np.stack([box.lower.numpy(), box.upper.numpy()], 1)
    for i, part in enumerate(parts):
        if any(part.cuts()):
            _look(part, i, slopes, ends)


def are_empty(enclosure: Enclosure, parts: Sequence[Part], repeats: int) -> Tensor:
    """Whether their multipliers prove parts empty: (parts * repeats,), each part repeated."""
    network = enclosure.known.network
    coefficients = {
        number: torch.zeros(len(parts), 1, layer.neurons, dtype=torch.float64)
        for number, layer in enumerate(network.layers, start=1)
    }
    offsets = torch.zeros(len(parts), 1, dtype=torch.float64)
    sizes = torch.zeros(len(parts), 1, dtype=torch.float64)
    for i, part in enumerate(parts):
        sides = set(part.cuts())
        for (cut, is_above), factor in part.multipliers:
            # Of a cut that did not make this part, or a factor below 0, nothing follows.
            if (cut, is_above) in sides and 0.0 <= factor < float("inf"):
                signed = factor if is_above else -factor
                coefficients[cut.layer][i, 0, cut.neuron] += signed
                offsets[i] -= signed * cut.place
                # Two cuts of a neuron add up to one coefficient, which is rounded.
                reach = float(enclosure.known.z_sizes[cut.layer][i * repeats, cut.neuron])
                sizes[i] += factor * (abs(cut.place) + reach + 1.0)
    terms = max((len(part.multipliers) for part in parts), default=0) + MORE_TERMS
    repeated = {n: each.repeat_interleave(repeats, 0) for n, each in coefficients.items()}
    most = upper_bounds(enclosure.known, enclosure.relaxation, z=repeated)
    rest = (offsets + 2.0 * gamma(terms) * sizes).repeat_interleave(repeats, 0)
    return (most + rest < 0)[:, 0]


def _look(
    part: Part,
    index: int,
    slopes: dict[int, tuple[Tensor, Tensor]],
    ends: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
) -> None:
    """The largest t with s (z - c) >= t |slopes|_1 for all cuts; below 0, its dual proves it."""
    sides = list(part.cuts())
    cuts = [(cut, 1.0 if is_above else -1.0) for cut, is_above in sides]
    rows = torch.stack([slopes[cut.layer][0][index, cut.neuron] for cut, _ in cuts]).numpy()
    constants = np.array(
        [float(slopes[cut.layer][1][index, cut.neuron]) - s * cut.place for cut, s in cuts]
    )
    scale = np.abs(rows).sum(1) + 1e-12
    matrix = np.concatenate([-rows / scale[:, None], np.ones((len(cuts), 1))], 1)
    bounds = np.concatenate([ends, [[-np.inf, 1.0]]])
    cost = np.zeros(matrix.shape[1])
    cost[-1] = -1.0
    program = linprog(cost, matrix, constants / scale, bounds=bounds, method="highs-ds")
    if program.status != 0:
        return
    if program.fun <= 0.0:
        part.inside = torch.from_numpy(program.x[:-1])
        return
    factors = np.maximum(-program.ineqlin.marginals, 0.0) / scale
    least = _NEGLIGIBLE * factors.max(initial=0.0)
    part.multipliers = tuple(
        (side, float(f"{factor:.{_DIGITS}g}"))
        for side, factor in zip(sides, factors, strict=True)
        if factor > least
    )
