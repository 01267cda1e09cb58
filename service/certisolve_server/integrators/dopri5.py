"""The method of Dormand and Prince, order 5 with an embedded one of order 4."""

from fractions import Fraction as Q

from .integrator import Integrator
from .runge_kutta import ExplicitRungeKutta
from .tableau import Tableau

#: Dormand and Prince, A family of embedded Runge-Kutta formulae, J. Comp. Appl. Math. 6 (1980);
#: `bubble` and `stable` from Hairer, Norsett, Wanner, Solving ODEs I, II.6, and their DOPRI5.
DOPRI5_TABLEAU = Tableau(
    c=(0, Q(1, 5), Q(3, 10), Q(4, 5), Q(8, 9), 1),
    a=(
        (Q(1, 5),),
        (Q(3, 40), Q(9, 40)),
        (Q(44, 45), Q(-56, 15), Q(32, 9)),
        (Q(19372, 6561), Q(-25360, 2187), Q(64448, 6561), Q(-212, 729)),
        (Q(9017, 3168), Q(-355, 33), Q(46732, 5247), Q(49, 176), Q(-5103, 18656)),
    ),
    b=(Q(35, 384), 0, Q(500, 1113), Q(125, 192), Q(-2187, 6784), Q(11, 84)),
    error=(
        Q(71, 57600),
        0,
        Q(-71, 16695),
        Q(71, 1920),
        Q(-17253, 339200),
        Q(22, 525),
        Q(-1, 40),
    ),
    bubble=(
        Q(-12715105075, 11282082432),
        0,
        Q(87487479700, 32700410799),
        Q(-10690763975, 1880347072),
        Q(701980252875, 199316789632),
        Q(-1453857185, 822651844),
        Q(69997945, 29380423),
    ),
    stable=3.25,
)

_attempt = ExplicitRungeKutta(DOPRI5_TABLEAU)

DOPRI5 = Integrator(
    name="dopri5",
    order=5,
    embedded_order=4,
    dense_order=4,
    evaluations=_attempt.evaluations,
    attempt=_attempt,
)
