"""Slopes of the lines and planes of one sweep, as numbers to be searched and to be kept.

Any slopes give a bound (see `planes`), so a search for good ones need prove nothing; they are kept
as numbers of 32 bits, from which the bound is then computed.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified

from .enclosure import Enclosure
from .planes import lines, planes
from .sweep import Relaxation

#: Of each layer: of the line above and below, and p and q of the plane above and below.
NUMBERS = 6


@dataclass(frozen=True, eq=False)
class Slopes:
    """By layer: (6, batch, 1, neurons)."""

    layers: Mapping[int, Tensor]

    def relaxation(self, enclosure: Enclosure) -> Relaxation:
        """The lines and planes of these slopes on the ranges of an enclosure."""
        all_lines, all_planes = {}, {}
        for number, (above, below, upper_p, upper_q, lower_p, lower_q) in self.layers.items():
            of, a = enclosure.cells[number], enclosure.a[number]
            all_lines[number] = lines(of, above, below)
            all_planes[number] = planes(of, a, (upper_p, upper_q), (lower_p, lower_q))
        return Relaxation(all_lines, all_planes)

    def rounded(self) -> "Slopes":
        """The nearest ones that are kept."""
        return Slopes({number: each.float().double() for number, each in self.layers.items()})

    def encoded(self) -> dict[str, str]:
        """As text: little-endian numbers of 32 bits in base 64, by layer."""
        return {
            str(number): base64.b64encode(each.numpy().astype("<f4").tobytes()).decode()
            for number, each in self.layers.items()
        }


def slopes_of(enclosure: Enclosure) -> Slopes:
    """Those that fit the ranges, before any search."""
    found = {}
    for number, known in enclosure.relaxation.planes.items():
        line = enclosure.relaxation.lines[number]
        found[number] = torch.stack(
            [
                line.upper_slope,
                line.lower_slope,
                known.upper_p,
                known.upper_q,
                known.lower_p,
                known.lower_q,
            ]
        )
    return Slopes(found)


def scales_of(enclosure: Enclosure) -> Slopes:
    """By how much slopes of each layer are worth changing."""
    found = {}
    for number, of in enclosure.cells.items():
        width = of.slopes.upper - of.slopes.lower
        run = of.places.upper - of.places.lower
        steepness = torch.where(run > 0, width / torch.where(run > 0, run, 1.0), 0.0)
        tilt = enclosure.a[number].magnitude * steepness
        found[number] = torch.stack([width, width, tilt, width, tilt, width])[:, :, None]
    return Slopes(found)


def decoded(text: object, enclosure: Enclosure) -> Slopes:
    """What `encoded` gave.

    Raises:
        NotCertified: it is not for a network of these layers, or not of finite numbers.
    """
    if not isinstance(text, dict) or text.keys() != {str(n) for n in enclosure.cells}:
        raise NotCertified("the slopes are of other layers")
    return Slopes(
        {
            number: _numbers(text[str(number)], (NUMBERS, len(of.place), 1, of.place.shape[1]))
            for number, of in enclosure.cells.items()
        }
    )


def _numbers(text: object, shape: tuple[int, ...]) -> Tensor:
    try:
        raw = base64.b64decode(str(text), validate=True)
        numbers = torch.from_numpy(np.frombuffer(raw, "<f4").astype(np.float64).reshape(shape))
    except ValueError as error:
        raise NotCertified(f"the slopes are not {shape} numbers") from error
    if not bool(numbers.isfinite().all()):
        raise NotCertified("a slope is not finite")
    return numbers
