"""Euler's method, first order."""

from .integrator import Integrator
from .runge_kutta import ExplicitRungeKutta
from .tableau import Tableau

#: y' = y + dt f(t, y) (Euler, Institutiones calculi integralis, 1768).
EULER_TABLEAU = Tableau(c=(0,), a=(), b=(1,))

_attempt = ExplicitRungeKutta(EULER_TABLEAU)

EULER = Integrator(
    name="euler",
    order=1,
    embedded_order=None,
    dense_order=1,
    evaluations=_attempt.evaluations,
    attempt=_attempt,
)
