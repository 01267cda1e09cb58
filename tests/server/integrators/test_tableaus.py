"""Coefficients fulfil the order conditions that they were chosen for."""

from fractions import Fraction
from functools import cache
from math import prod

import pytest

from certisolve_server.integrators.dopri5 import DOPRI5_TABLEAU
from certisolve_server.integrators.euler import EULER_TABLEAU
from certisolve_server.integrators.heun import HEUN_TABLEAU
from certisolve_server.integrators.rk4 import RK4_TABLEAU
from certisolve_server.integrators.rodas3 import RODAS3_TABLEAU
from certisolve_server.integrators.tsit5 import TSIT5_TABLEAU

TABLEAUS = {
    "euler": (EULER_TABLEAU, 1),
    "heun": (HEUN_TABLEAU, 2),
    "rk4": (RK4_TABLEAU, 4),
    "dopri5": (DOPRI5_TABLEAU, 5),
    "tsit5": (TSIT5_TABLEAU, 5),
}
PAIRS = {name: TABLEAUS[name][0] for name in ("dopri5", "tsit5")}
#: Tsitouras gives 16 decimals, of which sums of dozens of products up to 10^3 keep 12; the others
#: are exact.
ROUNDING = {"tsit5": 1e-12}


@cache
def trees(order):
    """Rooted trees with so many vertices, each the sorted tuple of its branches."""
    return sorted(set(forests(order - 1)))


def forests(size):
    if size == 0:
        return [()]
    return [
        tuple(sorted((first, *rest)))
        for part in range(1, size + 1)
        for first in trees(part)
        for rest in forests(size - part)
    ]


def order(tree):
    return 1 + sum(map(order, tree))


def density(tree):
    return order(tree) * prod(map(density, tree))


def phi(tree, a):
    """Elementary weights of the stages."""
    below = [phi(branch, a) for branch in tree]
    return [prod((dot(row, weights) for weights in below), start=Fraction(1)) for row in a]


def dot(left, right):
    return sum((x * y for x, y in zip(left, right, strict=True)), start=Fraction(0))


def square(tableau):
    """Rows of all stages, that of the slope at the end of the step included."""
    rows = ((), *tableau.a, tableau.b)
    return [[*row, *[0] * (len(rows) - len(row))] for row in rows]


def upto(highest):
    return [tree for number in range(1, highest + 1) for tree in trees(number)]


def test_there_are_as_many_trees_as_cayley_counted():
    assert [len(trees(number)) for number in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize("name", TABLEAUS)
def test_weights_have_the_order_of_the_method(name):
    tableau, highest = TABLEAUS[name]
    b = [*tableau.b, 0]
    for tree in upto(highest):
        defect = dot(b, phi(tree, square(tableau))) - Fraction(1, density(tree))
        assert abs(defect) <= ROUNDING.get(name, 0)
    worst = max(
        abs(dot(b, phi(tree, square(tableau))) - Fraction(1, density(tree)))
        for tree in trees(highest + 1)
    )
    assert worst > 1e-6  # and no higher one


@pytest.mark.parametrize("name", TABLEAUS)
def test_nodes_are_the_sums_of_their_rows(name):
    tableau, _ = TABLEAUS[name]
    for c, row in zip(tableau.c[1:], tableau.a, strict=True):
        assert abs(sum(row) - c) <= ROUNDING.get(name, 0)


@pytest.mark.parametrize("name", PAIRS)
def test_errors_are_those_of_a_method_of_order_four(name):
    tableau = PAIRS[name]
    for tree in upto(4):
        assert abs(dot(tableau.error, phi(tree, square(tableau)))) <= ROUNDING.get(name, 0)
    assert any(abs(dot(tableau.error, phi(tree, square(tableau)))) > 1e-6 for tree in trees(5))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("s", [Fraction(1, 7), Fraction(1, 2), Fraction(5, 6)])
def test_interpolants_have_order_four(name, s):
    tableau = PAIRS[name]
    weights = interpolant(tableau, s)
    for tree in upto(4):
        defect = dot(weights, phi(tree, square(tableau))) - s ** order(tree) / density(tree)
        assert abs(defect) <= ROUNDING.get(name, 0)


def interpolant(tableau, s):
    """Weights of y(t + s dt): cubic Hermite and bubble."""
    b, last = [*tableau.b, 0], len(tableau.b)
    rest = 1 - s
    return [
        s * b[i]
        + s * rest * (rest * ((i == 0) - b[i]) + s * (b[i] - (i == last)))
        + (s * rest) ** 2 * tableau.bubble[i]
        for i in range(last + 1)
    ]


def rosenbrock():
    """Rodas3 as (alpha, beta = alpha + Gamma, b, b of the embedded method), exactly."""
    tableau, n = RODAS3_TABLEAU, 4
    padded = [[*map(Fraction, row), *[Fraction(0)] * (n - len(row))] for row in tableau.c]
    # Gamma^-1 = I / gamma - C, a lower triangle.
    inverse = [[(i == j) / tableau.gamma - padded[i][j] for j in range(n)] for i in range(n)]
    gamma = inverted(inverse)
    a = [[*map(Fraction, row), *[Fraction(0)] * (n - len(row))] for row in tableau.a]
    alpha = product(a, gamma)
    beta = [[x + y for x, y in zip(*rows, strict=True)] for rows in zip(alpha, gamma, strict=True)]
    embedded = [m - e for m, e in zip(tableau.m, tableau.error, strict=True)]
    return alpha, gamma, beta, product([tableau.m], gamma)[0], product([embedded], gamma)[0]


def inverted(lower):
    n = len(lower)
    result = [[Fraction(0)] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            known = sum((lower[i][k] * result[k][j] for k in range(i)), start=Fraction(0))
            result[i][j] = ((i == j) - known) / lower[i][i]
    return result


def product(left, right):
    return [[dot(row, column) for column in zip(*right, strict=True)] for row in left]


def test_rodas3_has_order_three_and_its_embedded_method_two():
    # Hairer and Wanner, Solving ODEs II, IV.7, table 7.1.
    alpha, gamma, beta, b, embedded = rosenbrock()
    nodes, sums = [sum(row) for row in alpha], [sum(row) for row in beta]
    for weights in (b, embedded):
        assert sum(weights) == 1
        assert dot(weights, sums) == Fraction(1, 2)
    assert dot(b, [c * c for c in nodes]) == Fraction(1, 3)
    assert dot(b, [dot(row, sums) for row in beta]) == Fraction(1, 6)
    assert dot(embedded, [c * c for c in nodes]) != Fraction(1, 3)
    assert nodes == list(RODAS3_TABLEAU.alpha)
    assert [sum(row) for row in gamma] == list(RODAS3_TABLEAU.gammas)


def test_rodas3_forgets_what_is_infinitely_stiff():
    # R(infinity) = 1 - b beta^-1 1 (IV.7.16); 0 means L-stable, as gamma = 1/2 is A-stable.
    _, _, beta, b, _ = rosenbrock()
    assert 1 - dot(b, [sum(row) for row in inverted(beta)]) == 0
    assert b == beta[-1]  # stiffly accurate
