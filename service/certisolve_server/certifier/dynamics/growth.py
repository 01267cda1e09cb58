"""By how much differences grow, at most, from what is known of slopes on the way."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import product_up
from certisolve_server.certifier.arithmetic.sums import total
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.functions import library
from certisolve_server.certifier.norms import NORMS, Norms

from .lognorm import logarithmic_norm

#: By norm, (n,) of numbers above 0: the size of a difference d on the way is |w d|.
Weights: TypeAlias = Mapping[Norm, Tensor]


def growth(slopes: Interval, dt: float, norms: Norms, weights: Weights) -> Tensor:
    """At least the norm of every product of transitions: the least over logarithmic norms.

    exp(h sum of mu(D M D^-1)) bounds growth in |D d|, D = diag(w). The weights are paid for by the
    norms of identities between them and those of the problem, |D_in^-1| and |D_out|.

    Args:
        slopes: (..., N, n, n), where M lies on each step.
        dt: h.
        norms: of the problem.
        weights: of each norm that is tried.

    Returns:
        (...), inf where there is no bound.
    """
    bounds = [
        _in_norm(slopes, dt, norms, norm, Interval.exact(each)) for norm, each in weights.items()
    ]
    return torch.stack(bounds).amin(0)


def unit_weights(size: int) -> Weights:
    """The norms as they are."""
    return {norm: torch.ones(size, dtype=torch.float64) for norm in NORMS}


def checked_weights(numbers: Mapping[str, object], size: int) -> Weights:
    """Weights from a certificate.

    Raises:
        NotCertified: they are not above 0, or not as many as there are numbers in a state.
    """
    found: dict[Norm, Tensor] = {}
    for norm in NORMS:
        if norm in numbers:
            each = torch.tensor(numbers[norm], dtype=torch.float64)
            if each.shape != (size,) or not bool(((each > 0) & each.isfinite()).all()):
                raise NotCertified(f"the weights of {norm} are not {size} numbers above 0")
            found[norm] = each
    if not found:
        raise NotCertified("there are no weights of any norm")
    return found


def _in_norm(slopes: Interval, dt: float, norms: Norms, norm: Norm, weights: Interval) -> Tensor:
    column = weights.rearranged(lambda ends: ends.unsqueeze(-1))
    rates = logarithmic_norm(slopes * column / weights, norm)
    identity = Interval.exact(torch.eye(weights.shape[0], dtype=torch.float64))
    begin = Norms(norms.inputs, norm, norms.input_weights, weights).bound(identity)
    end = Norms(norm, norms.outputs, weights, norms.output_weights).bound(identity)
    known = rates.isfinite().all(-1)
    finite = torch.where(rates.isfinite(), rates, 0.0)
    exponent = total(Interval.exact(finite), -1) * dt
    grown = library.exp(exponent).upper
    return torch.where(known, product_up(product_up(begin, end), grown), torch.inf)
