"""The classical Runge-Kutta method, fourth order."""

from fractions import Fraction

from .integrator import Integrator
from .runge_kutta import ExplicitRungeKutta
from .tableau import Tableau

_HALF = Fraction(1, 2)

#: Kutta, Beitrag zur näherungsweisen Integration, Z. Math. Phys. 46 (1901).
RK4_TABLEAU = Tableau(
    c=(0, _HALF, _HALF, 1),
    a=((_HALF,), (0, _HALF), (0, 0, 1)),
    b=(Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6)),
)

_attempt = ExplicitRungeKutta(RK4_TABLEAU)

RK4 = Integrator(
    name="rk4",
    order=4,
    embedded_order=None,
    dense_order=3,
    evaluations=_attempt.evaluations,
    attempt=_attempt,
)
