"""The method of Tsitouras, order 5 with an embedded one of order 4."""

from .integrator import Integrator
from .runge_kutta import ExplicitRungeKutta
from .tableau import Tableau

#: Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
#: assumption, Comput. Math. Appl. 62 (2011). `bubble` holds the quartic coefficients of its
#: interpolant; `stable` is nine tenths of the limit, as in Pal et al., Opening the blackbox, ICML
#: 2021: a controller that is smooth rests just below the limit itself.
TSIT5_TABLEAU = Tableau(
    c=(0, 0.161, 0.327, 0.9, 0.9800255409045097, 1),
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.028269050394068383,
        ),
    ),
    b=(
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
    ),
    error=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        1 / 66,
    ),
    bubble=(
        -1.0530884977290216,
        0.1017,
        2.490627285651253,
        -16.548102889244902,
        47.37952196281928,
        -34.87065786149661,
        2.5,
    ),
    stable=0.9 * 3.5068,
)

_attempt = ExplicitRungeKutta(TSIT5_TABLEAU)

TSIT5 = Integrator(
    name="tsit5",
    order=5,
    embedded_order=4,
    dense_order=4,
    evaluations=_attempt.evaluations,
    attempt=_attempt,
)
