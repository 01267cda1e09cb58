import numpy as np
import pytest

from certisolve_server.bench import poisson_arrivals

RATE, DURATION = 1000.0, 20.0


@pytest.fixture
def due():
    return poisson_arrivals(np.random.default_rng(0), RATE, DURATION, 10**6)


def test_arrivals_ascend_within_the_duration(due):
    assert np.all(np.diff(due) > 0)
    assert due[0] > 0
    assert due[-1] < DURATION


def test_gaps_are_exponential_with_the_mean_of_the_rate(due):
    gaps = RATE * np.diff(due)
    # Standard errors with 20,000 gaps: mean 0.007, variance 0.02.
    assert gaps.mean() == pytest.approx(1, abs=0.03)
    assert gaps.var() == pytest.approx(1, abs=0.1)
    assert np.mean(gaps > 1) == pytest.approx(np.exp(-1), abs=0.02)


def test_counts_per_interval_have_the_variance_of_a_poisson_process(due):
    counts, _ = np.histogram(due, bins=2000, range=(0, DURATION))
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)


def test_a_seed_gives_the_same_schedule():
    one, other = (poisson_arrivals(np.random.default_rng(7), 50.0, 3.0, 10**6) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_number_of_requests_is_bounded():
    assert poisson_arrivals(np.random.default_rng(0), 1e6, 1e3, 10).size == 10


@pytest.mark.parametrize("seed", range(20))
def test_the_schedule_reaches_the_end_even_with_few_arrivals(seed):
    due = poisson_arrivals(np.random.default_rng(seed), 0.001, 1.0, 10**6)
    assert due.size <= 1


@pytest.mark.parametrize(("rate", "duration_s"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_rate_or_duration_that_is_not_positive_is_refused(rate, duration_s):
    with pytest.raises(ValueError, match="positive"):
        poisson_arrivals(np.random.default_rng(0), rate, duration_s, 10)
