"""Heun's method, second order: the trapezoidal rule after a step of Euler's."""

from fractions import Fraction

from .integrator import Integrator
from .runge_kutta import ExplicitRungeKutta
from .tableau import Tableau

#: Heun, Neue Methoden zur approximativen Integration, Z. Math. Phys. 45 (1900).
HEUN_TABLEAU = Tableau(c=(0, 1), a=((1,),), b=(Fraction(1, 2), Fraction(1, 2)))

_attempt = ExplicitRungeKutta(HEUN_TABLEAU)

HEUN = Integrator(
    name="heun",
    order=2,
    embedded_order=None,
    dense_order=2,
    evaluations=_attempt.evaluations,
    attempt=_attempt,
)
