"""The bound that multipliers prove, one error for each matrix: quick where there are many blocks.

In coordinates of `stages`, a layer is h_+ = M h + G r of differences, |r_k| <= |(V h)_k|. Suppose
that h^T P^{-1} h <= |h_0|^2, summed over the blocks. With multipliers 1 / mu_k > 0, D = diag(mu)
and R = D - V P V^T > 0,

    h^T P^{-1} h >= h^T P^{-1} h - |D^{-1/2} V h|^2 + |D^{-1/2} r|^2,

a positive form N in (h, r), of which the least with h_+ = M h + G r given is not below
h_+^T P_+^{-1} h_+ for every P_+ > 0 above (M, G) N^{-1} (M, G)^T. By Woodbury's identity that is

    M P M^T + U R^{-1} U^T + G D G^T,   U = M P V^T.

So after the last layer the constant is at most the root of the largest |A P A^T| of all blocks.

What is computed is a center and a bound, block by block, of the spectral norm of what is missing:
|fl(A B) - A B| <= gamma_n |A|_F |B|_F (Higham, Accuracy and Stability, (3.13)). For any K with
|K R K^T - I| <= e < 1, R > 0 and R^{-1} <= K^T K / (1 - e), since then K is regular. P_+ is the
symmetric part of its center with the bound added on the diagonal, and taken as it is from there on.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval, gamma, spectral_norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, sqrt_up
from certisolve_server.certifier.slices import finished

from .chain import Chain
from .layers import Slopes
from .verify import UnverifiedMultipliers

# For the roundings of the few operations on bounds themselves.
_UP = 1.0 + 2.0**-40


@dataclass(frozen=True, eq=False)
class Ball:
    """All matrices at most so far from a center, in the spectral norm; block by block.

    Args:
        center: (..., rows, columns).
        radius: (...).
    """

    center: Numbers
    radius: Numbers

    @classmethod
    def of(cls, matrix: Interval) -> "Ball":
        """Of an enclosed matrix."""
        center, radius = matrix.midpoint_radius()
        return cls(center, _size(radius))

    @property
    def size(self) -> Numbers:
        """At least the norm of each member."""
        return (_size(self.center) + self.radius) * _UP

    @property
    def mT(self) -> "Ball":
        """Transposed."""
        return Ball(self.center.mT, self.radius)

    def __matmul__(self, other: "Ball") -> "Ball":
        own, theirs = _size(self.center), _size(other.center)
        rounding = gamma(self.center.shape[-1] + 2) * own * theirs
        moved = own * other.radius + self.radius * (theirs + other.radius)
        terms = self.center.shape[-2:].numel() * other.center.shape[-1]
        # Underflow, even to 0 of what is subnormal.
        tiny = 4.0 * terms * 2.0**-1022 * (1.0 + own + theirs)
        return Ball(self.center @ other.center, (rounding + moved) * _UP + tiny)

    def __add__(self, other: "Ball") -> "Ball":
        center = self.center + other.center
        rounding = 2.0**-52 * _size(center)
        return Ball(center, (self.radius + other.radius + rounding) * _UP)

    def scaled(self, rows: Numbers) -> "Ball":
        """Each row times a float."""
        center = rows[:, None] * self.center
        largest = rows.abs().max() if rows.numel() else rows.new_zeros(())
        rounding = 2.0**-52 * _size(center) + 4.0 * center.shape[-2:].numel() * 2.0**-1022
        return Ball(center, (self.radius * largest + rounding) * _UP)


def normwise_bound(chain: Chain, multipliers: Sequence[Numbers]) -> float:
    """At least the Lipschitz constant of the chain, l2 to l2, on the whole space.

    Args:
        chain: of slopes alone.
        multipliers: lambda of each layer, (neurons,), above 0; 1 / lambda is rounded to mu, which
            any number above 0 may be.

    Raises:
        UnverifiedMultipliers: they prove nothing, or nothing that these bounds can see.
    """
    return float(finished(proving(chain, multipliers)))


def proving(chain: Chain, multipliers: Sequence[Numbers]) -> Generator[None, None, float]:
    """The same in slices, one for each layer."""
    if [tuple(m.shape) for m in multipliers] != [(s.neurons,) for s in chain.slopes]:
        raise UnverifiedMultipliers("one multiplier for each neuron of each layer")
    storage = _exact(torch.eye(chain.maps[0].shape[-1], dtype=torch.float64))
    for layer, weights in enumerate(multipliers):
        mu = (1.0 / weights).repeat(chain.copies)
        if not bool((mu.isfinite() & (mu > 0)).all()):
            raise UnverifiedMultipliers("multipliers are numbers above 0")
        storage = _after(chain, layer, storage, mu)
        yield
    last = Ball.of(chain.maps[-1])
    squared = last @ storage @ last.mT
    norms = spectral_norm(_symmetric(squared.center))
    bound = float(sqrt_up((norms + squared.radius) * _UP).max())
    if not math.isfinite(bound):
        raise UnverifiedMultipliers("the bound is not finite")
    return bound


def _after(chain: Chain, layer: int, storage: Ball, mu: Numbers) -> Ball:
    """P_+, exact, of P."""
    slopes = chain.rows[layer]
    if not isinstance(slopes, Slopes):
        raise UnverifiedMultipliers("only of slopes")
    middle, spread = _middle_and_spread(slopes)
    a, skip, mix = Ball.of(chain.maps[layer]), chain.skip(layer), chain.mix(layer)
    # What has one slope has no r.
    weights = torch.where(spread > 0, mu, 0.0)
    if skip is None and mix is None:
        image = a @ storage @ a.mT
        carried = image.scaled(middle).mT.scaled(middle)
        across, seen = image.scaled(middle).mT.scaled(spread).mT, image.scaled(spread)
        seen, new = seen.mT.scaled(spread), _exact(torch.diag(weights))
    else:
        g = _exact(torch.eye(mu.shape[0], dtype=torch.float64)) if mix is None else Ball.of(mix)
        m = g @ a.scaled(middle)
        m = m if skip is None else m + Ball.of(skip)
        v = a.scaled(spread)
        moved = m @ storage
        carried, across = moved @ m.mT, moved @ v.mT
        seen, new = v @ storage @ v.mT, g @ g.mT.scaled(weights)
    inverse_root, kept = _inverse_root(mu, seen, layer)
    outer = across @ inverse_root.mT
    rest = outer @ outer.mT
    share = 1.0 / kept
    rest = Ball(
        rest.center * share[..., None, None],
        (rest.radius * share + 2.0**-50 * _size(rest.center) * share) * _UP,
    )
    return _above(carried + rest + new)


def _middle_and_spread(slopes: Slopes) -> tuple[Numbers, Numbers]:
    """(c, eta): slopes are within eta of c, as floats."""
    middle = 0.5 * slopes.least + 0.5 * slopes.most
    spread = torch.maximum(slopes.most - middle, middle - slopes.least)
    return middle, torch.where(spread > 0, spread * _UP, 0.0)


def _inverse_root(mu: Numbers, seen: Ball, layer: int) -> tuple[Ball, Numbers]:
    """(K, 1 - e) with R^{-1} <= K^T K / (1 - e) for every symmetric member of diag(mu) - Q."""
    remaining = _exact(torch.diag(mu)) + Ball(-seen.center, seen.radius)
    factor, failed = torch.linalg.cholesky_ex(_symmetric(remaining.center))
    if bool(failed.any()):
        raise UnverifiedMultipliers(f"what layer {layer} keeps is not positive definite")
    identity = torch.eye(mu.shape[0], dtype=torch.float64).expand_as(factor)
    root = _exact(torch.linalg.solve_triangular(factor, identity, upper=False))
    product = root @ remaining @ root.mT
    defect = Ball(product.center - identity, product.radius + 2.0**-52 * _size(product.center))
    kept = (1.0 - defect.size) * (1.0 - 2.0**-40)
    # False of NaN.
    if not bool((kept > 0.5).all()):
        raise UnverifiedMultipliers(f"what layer {layer} keeps is too close to singular")
    return root, kept


def _above(ball: Ball) -> Ball:
    """A symmetric float matrix that is not below any symmetric member."""
    center = _symmetric(ball.center)
    size = _size(center)
    added = (ball.radius + 2.0**-50 * size) * _UP
    diagonal = center.diagonal(dim1=-2, dim2=-1) + added.unsqueeze(-1)
    return _exact(torch.diagonal_scatter(center, diagonal, dim1=-2, dim2=-1))


def _symmetric(center: Numbers) -> Numbers:
    return 0.5 * center + 0.5 * center.mT


def _exact(center: Numbers) -> Ball:
    return Ball(center, center.new_zeros(center.shape[:-2]))


def _size(center: Numbers) -> Numbers:
    """At least the Frobenius norm of each block."""
    terms = center.shape[-2:].numel()
    # What is below 2^-511 vanishes when it is squared.
    tiny = math.sqrt(terms) * 2.0**-500
    squares = center.square().sum((-2, -1))
    return squares.sqrt() * (1.0 + 2.0 * gamma(terms + 8)) + tiny
