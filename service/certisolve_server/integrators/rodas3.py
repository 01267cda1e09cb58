"""Rodas3 for stiff problems: order 3, L-stable, stiffly accurate, an embedded method of order 2.

Like all linearly implicit methods it may step over a pole of the solution unawares: steps may be
finite where the solution is not.
"""

from dataclasses import dataclass
from fractions import Fraction as Q

import torch
from jaxtyping import Float
from torch import Tensor

from .integrator import Integrator, Trial
from .jacobian import jacobian
from .lu import factorize, solve
from .rowwise import norm, weighted_sum
from .state import VectorField
from .tableau import Row

#: Largest stable |dt lambda| of the explicit methods of order 5 (see `dopri5` and `tsit5`).
_EXPLICIT_STABLE = 3.25


@dataclass(frozen=True)
class RosenbrockTableau:
    """(1/(gamma dt) - J) u_i = f(t + alpha_i dt, y + sum a_ij u_j) + sum c_ij u_j / dt
    + gamma_i dt df/dt, and y' = y + sum m_i u_i.

    Free of products with J (Hairer and Wanner, Solving ODEs II, 1996, IV.7, "Implementation").
    """  # noqa: D205

    gamma: Q
    alpha: Row
    gammas: Row
    a: tuple[Row, ...]
    c: tuple[Row, ...]
    m: Row
    error: Row


#: Sandu, Verwer, Blom, Spee, Carmichael, Potra, Benchmarking stiff ODE solvers for atmospheric
#: chemistry problems II: Rosenbrock solvers, Atmos. Environ. 31 (1997).
RODAS3_TABLEAU = RosenbrockTableau(
    gamma=Q(1, 2),
    alpha=(0, 0, 1, 1),
    gammas=(Q(1, 2), Q(3, 2), 0, 0),
    a=((), (0,), (2, 0), (2, 0, 1)),
    c=((), (4,), (1, -1), (1, -1, Q(-8, 3))),
    m=(2, 0, 1, 1),
    error=(0, 0, 0, 1),
)


@dataclass(frozen=True)
class Rosenbrock:
    """A linearly implicit method: one Jacobian and one decomposition in a step, no iteration."""

    tableau: RosenbrockTableau

    @property
    def evaluations(self) -> int:
        """Evaluations in a step: the stages that move away from y, and the slope at the end."""
        return sum(map(any, self.tableau.a)) + 1

    def __call__(
        self,
        field: VectorField,
        t: Float[Tensor, " batch"],
        y: Float[Tensor, "batch state"],
        f: Float[Tensor, "batch state"],
        dt: Float[Tensor, " batch"],
    ) -> Trial:
        """Where a step of size dt leads; where dt is 0, at y."""
        tableau = self.tableau
        # Samples that rest are solved with a step of 1, and stay where they are.
        step = dt.where(dt > 0, 1.0).to(y.dtype)[:, None]
        slope, by_time = jacobian(field, t.to(y.dtype), y)
        diagonal = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
        lu = factorize(diagonal / (float(tableau.gamma) * step[:, :, None]) - slope)
        us: list[Tensor] = []
        for alpha, gamma, a, c in zip(
            tableau.alpha, tableau.gammas, tableau.a, tableau.c, strict=True
        ):
            value = f
            if any(a):
                stage = y + weighted_sum(_floats(a), us)
                value = field((t + float(alpha) * dt).to(y.dtype), stage)
            right = value + float(gamma) * step * by_time
            us.append(solve(lu, right + weighted_sum(_floats(c), us) / step if us else right))
        moving = (dt > 0)[:, None]
        end = (y + weighted_sum(_floats(tableau.m), us)).where(moving, y)
        return Trial(
            y=end,
            f=field((t + dt).to(y.dtype), end),
            bubble=torch.zeros_like(y),
            error=weighted_sum(_floats(tableau.error), us),
            stiffness=_stiffness(slope, dt),
        )


def _stiffness(
    slope: Float[Tensor, "batch state state"], dt: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """A bound of |dt lambda|, by Frobenius' norm, over what an explicit method could take.

    With no eigenvalue left beyond that, an explicit method goes on with less work (LSODA of
    Petzold, Automatic selection of methods for solving stiff and nonstiff systems of ODEs, SIAM J.
    Sci. Stat. Comput. 4, 1983, goes by a norm of the Jacobian as well).
    """
    frobenius = slope.shape[1] * norm(slope.detach().flatten(1))
    return (dt * frobenius / _EXPLICIT_STABLE).nan_to_num(nan=0.0, posinf=0.0)


def _floats(row: Row) -> list[float]:
    return [float(weight) for weight in row]


_attempt = Rosenbrock(RODAS3_TABLEAU)

RODAS3 = Integrator(
    name="rodas3",
    order=3,
    embedded_order=2,
    dense_order=3,
    evaluations=_attempt.evaluations,
    jacobians=1,
    attempt=_attempt,
)
