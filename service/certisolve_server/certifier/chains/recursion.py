"""The recursion of `verify` in plain floats, with its gradient: fast, and no proof of anything.

With P the storage before a layer, Q = V P V^T, R = diag(mu) - Q and U = M P V^T, mu = 1 / lambda,

    P_+ = M P M^T + U R^{-1} U^T + G diag(mu) G^T,
    dP_+ = K dP K^T + G diag(dmu) G^T - U R^{-1} diag(dmu) R^{-1} U^T,   K = M + U R^{-1} V,

so of a function with the gradient Y at P_+, that at P is K^T Y K, and that with respect to mu is
the diagonal of G^T Y G - R^{-1} U^T Y U R^{-1}. Where M = diag(s) V and G = I, U = diag(s) Q, and

    P_+ = diag(s) (diag(mu) R^{-1} diag(mu) - diag(mu)) diag(s) + diag(mu).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .stages import Stage


@dataclass(frozen=True, eq=False)
class Passage:
    """What became of a storage in one layer.

    Args:
        stage: the layer.
        weights: mu of each r.
        seen: Q.
        factor: of Cholesky, of R.
        inverse: R^{-1}.
        across: U.
        after: P_+.
    """

    stage: Stage
    weights: Numbers
    seen: Numbers
    factor: Numbers
    inverse: Numbers
    across: Numbers
    after: Numbers

    def before(self, gradient: Numbers, barrier: float) -> tuple[Numbers, Numbers]:
        """From the gradient at P_+ those at P and mu, less those of barrier log det R."""
        stage = self.stage
        back = self.inverse @ self.across.mT
        pulled = back @ gradient
        carry = stage.carry.mT @ gradient
        inner = pulled @ back.mT + barrier * self.inverse
        mixed = carry @ back.mT @ stage.reach
        before = carry @ stage.carry + mixed + mixed.mT + stage.reach.mT @ inner @ stage.reach
        own = ((stage.mix.mT @ gradient) * stage.mix.mT).sum(-1)
        return before, own - inner.diagonal(dim1=-2, dim2=-1)

    def column_before(self, columns: Numbers) -> tuple[Numbers, Numbers]:
        """The same of a gradient Y = C C^T, in columns, and without a barrier."""
        stage = self.stage
        back = self.inverse @ (self.across.mT @ columns)
        own = (stage.mix.mT @ columns).square().sum(-1) - back.square().sum(-1)
        return stage.carry.mT @ columns + stage.reach.mT @ back, own


def passage(stage: Stage, before: Numbers | None, weights: Numbers) -> Passage | None:
    """Through one layer, from P, None for the identity; None where R is not positive definite.

    Args:
        stage: the layer.
        before: P.
        weights: mu of each multiplier.
    """
    rows = weights[stage.share]
    reached = stage.reach if before is None else stage.reach @ before
    seen = reached @ stage.reach.mT
    factor, failed = torch.linalg.cholesky_ex(torch.diag(rows) - seen)
    if bool(failed.any()) or not bool(factor.isfinite().all()):
        return None
    inverse = torch.cholesky_inverse(factor)
    if stage.ratio is not None:
        across = stage.ratio[:, None] * seen
        outer = stage.ratio * rows
        after = outer[:, None] * inverse * outer
        after = after + torch.diag(rows - rows * stage.ratio * stage.ratio)
    else:
        across = stage.carry @ reached.mT
        carried = stage.carry if before is None else stage.carry @ before
        after = carried @ stage.carry.mT + across @ inverse @ across.mT
        after = after + (stage.mix * rows) @ stage.mix.mT
    return Passage(stage, rows, seen, factor, inverse, across, after)


def passages(
    stages: Sequence[Stage], weights: Sequence[Numbers], storage: Numbers | None = None
) -> list[Passage] | None:
    """Through all layers, with mu of each; None where one has no positive definite R."""
    passed: list[Passage] = []
    for stage, own in zip(stages, weights, strict=False):
        through = passage(stage, storage, own)
        if through is None:
            return None
        passed.append(through)
        storage = through.after
    return passed


def gains(last: Numbers, storage: Numbers | None) -> Numbers:
    """A_L P A_L^T, (..., outputs, outputs)."""
    return (last if storage is None else last @ storage) @ last.mT
