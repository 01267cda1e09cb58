"""Time steppers of the reference solvers, for u' = L u + N(u)."""

from .base import AbstractStepper as AbstractStepper
from .crank_nicolson import CrankNicolson as CrankNicolson
from .etd_rk4 import ExponentialRK4 as ExponentialRK4
from .if_rk4 import IntegratingFactorRK4 as IntegratingFactorRK4
from .problem import AbstractLinear as AbstractLinear
from .problem import Diagonal as Diagonal
from .problem import Semilinear as Semilinear
from .rk4 import RungeKutta4 as RungeKutta4
from .rollout import divide as divide
from .rollout import rollout as rollout
from .tridiagonal import Tridiagonal as Tridiagonal

all_steppers = [CrankNicolson, ExponentialRK4, IntegratingFactorRK4, RungeKutta4]

__all__ = [
    "AbstractLinear",
    "AbstractStepper",
    "CrankNicolson",
    "Diagonal",
    "ExponentialRK4",
    "IntegratingFactorRK4",
    "RungeKutta4",
    "Semilinear",
    "Tridiagonal",
    "all_steppers",
    "divide",
    "rollout",
]
