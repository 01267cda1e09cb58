"""What is verified holds in exact arithmetic, whatever the numbers; NaN is never verified."""

import math
from fractions import Fraction

import mpmath
import pytest
import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import (
    Chain,
    Folding,
    Slopes,
    UnverifiedMultipliers,
    bound,
    recheck,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.errors import NotCertified
from chain_members import attained, folded, plain, random, residual, slopes

DIGITS = 80


def exact_bound(chain: Chain, multipliers: tuple[torch.Tensor, ...]) -> mpmath.mpf:
    """By the whole inequality at once, in 80 digits: the least gain at which it holds.

    rho I + T - V^T T V - Y^T Y >= 0, in terms of x and of v = f of each layer, with slopes as they
    are: another form than the recursion's, and other arithmetic.
    """
    sizes = [chain.maps[0].shape[-1], *(layer.neurons for layer in chain.slopes)]
    total = sum(sizes)
    state = mpmath.matrix(sizes[0], total)
    for k in range(sizes[0]):
        state[k, k] = 1
    inequality, start = mpmath.matrix(total, total), sizes[0]
    for index, layer in enumerate(chain.slopes):
        assert isinstance(layer, Slopes)
        z, v = _matrix(chain.maps[index].lower) * state, mpmath.matrix(layer.neurons, total)
        for k in range(layer.neurons):
            v[k, start + k] = 1
            low = v[k, :] - mpmath.mpf(float(layer.least[k])) * z[k, :]
            high = mpmath.mpf(float(layer.most[k])) * z[k, :] - v[k, :]
            product = low.T * high * (mpmath.mpf(float(multipliers[index][k])) / 2)
            inequality -= product + product.T
        mix, skip = chain.mix(index), chain.skip(index)
        following = v if mix is None else _matrix(mix.lower) * v
        state = following if skip is None else following + _matrix(skip.lower) * state
        start += layer.neurons
    y = _matrix(chain.maps[-1].lower) * state
    for k in range(sizes[0]):
        inequality[k, k] += 1
    root = mpmath.cholesky(inequality)
    solved = mpmath.matrix(total, y.rows)
    for column in range(y.rows):
        solved[:, column] = mpmath.lu_solve(root, y[column, :].T)
    return mpmath.sqrt(max(mpmath.eigsy(solved.T * solved, eigvals_only=True)))


def _matrix(values: torch.Tensor) -> mpmath.matrix:
    return mpmath.matrix(values.tolist())


@pytest.mark.parametrize("least", [0.0, -0.13, 0.4, -1.0])
@pytest.mark.parametrize(
    "found", [closed_form, lambda chain: bound(chain, lambda: True).multipliers]
)
def test_verified_bounds_are_above_those_in_exact_arithmetic_and_near_them(least, found):
    for chain in (plain((3, 5, 4, 2), least, 1.0, 6), residual(3, 4, 2, least, 1.0, 6)):
        multipliers = found(chain)
        verified = verified_bound(chain, multipliers)
        with mpmath.workdps(DIGITS):
            exact = exact_bound(chain, multipliers)
            assert exact <= mpmath.mpf(verified) <= exact * (1 + mpmath.mpf(10) ** -6)


def test_numbers_that_cancel_are_not_lost():
    """Two layers whose products cancel to 16 digits, and one that does not."""
    big = torch.tensor([[1e8, -1e8], [1.0, 1.0]], dtype=torch.float64)
    chain = Chain.of(
        [big, torch.eye(2), torch.tensor([[1.0, 1.0]])],
        [slopes(2, 1.0 - 2.0**-30, 1.0), slopes(2, 0.0, 1.0)],
    )
    upper = bound(chain, lambda: True).upper
    assert attained(chain) <= upper
    rows = [Fraction(10**8), Fraction(-(10**8))]
    assert upper >= math.sqrt(float(rows[0] ** 2 + rows[1] ** 2))


@pytest.mark.parametrize("scale", [2.0**-1040, 2.0**-520, 2.0**-300, 2.0**300, 2.0**500])
@pytest.mark.parametrize("where", [0, 1])
def test_numbers_far_from_one_prove_a_bound_or_none(scale, where):
    maps = [random(6, 3, seed=1), random(2, 6, seed=2)]
    maps[where] = maps[where] * scale
    for layer in (slopes(6, 0.0, 1.0), slopes(6, -0.1, 1.1), Folding.group_sort(6, 2)):
        chain = Chain.of(maps, [layer])
        try:
            certificate = bound(chain, lambda: True)
        except NotCertified:
            assert abs(math.log2(scale)) > 450
            continue
        plain_chain = Chain.of([random(6, 3, seed=1), random(2, 6, seed=2)], [layer])
        least = attained(plain_chain, 50) * scale
        assert least * (1 - 1e-9) <= certificate.upper
        assert recheck(chain, certificate) <= certificate.upper


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_refused_wherever_it_is(value):
    chain = plain((3, 4, 2), 0.0, 1.0)
    good = closed_form(chain)
    bad = good[0].clone()
    bad[1] = value
    with pytest.raises(UnverifiedMultipliers):
        verified_bound(chain, (bad,))
    with pytest.raises((NotCertified, ValueError)):
        Slopes(torch.tensor([0.0, value]), torch.ones(2))
    spoiled = chain.maps[0].lower.clone()
    spoiled[0, 0] = value
    with pytest.raises((NotCertified, ValueError)):
        Chain.of([spoiled, chain.maps[1].lower], chain.slopes)
    with pytest.raises((NotCertified, ValueError)):
        Chain.of([a.lower for a in chain.maps], chain.slopes, [spoiled], [None])


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 0.99, 1.001, 2.0, 1e6])
def test_multipliers_of_any_size_prove_what_is_true_or_nothing(factor):
    for chain in (
        plain((3, 6, 6, 2), -0.1, 1.1),
        residual(3, 5, 3, 0.0, 1.0, 4),
        folded((3, 6, 2), 2),
    ):
        least, best = attained(chain, 100), bound(chain, lambda: True)
        try:
            assert verified_bound(chain, tuple(m * factor for m in best.multipliers)) >= least
        except UnverifiedMultipliers:
            continue


def test_maps_that_are_only_enclosed_are_bounded_at_their_worst():
    chain = residual(3, 4, 2, 0.0, 1.0, 4)
    wide = Chain(
        tuple(Interval.ball(a.lower, 1e-3) for a in chain.maps),
        chain.slopes,
        skips=tuple(Interval.ball(a.lower, 1e-3) for a in chain.skips),
        mixes=tuple(Interval.ball(a.lower, 1e-3) for a in chain.mixes),
    )
    upper = bound(wide, lambda: True).upper
    for sign in (-1e-3, 1e-3):
        member = Chain.of(
            [a.lower + sign for a in chain.maps],
            chain.slopes,
            [a.lower - sign for a in chain.skips],
            [a.lower + sign for a in chain.mixes],
        )
        assert attained(member) <= upper
    assert upper > bound(chain, lambda: True).upper
