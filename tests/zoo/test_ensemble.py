import pytest
import torch
from torch import nn

from certisolve_zoo.ensemble import (
    TWO_SIGMA_COVERAGE,
    Ensemble,
    coverage,
    fitted_calibration,
    mean_and_deviation,
)


def _noisy(num_values, num_members, *, error, scatter):
    """Zeros as seen by members that scatter about a mean which is itself off."""
    mean = error * torch.randn(4, 1, num_values, dtype=torch.float64)
    members = mean + scatter * torch.randn(4, num_members, num_values, dtype=torch.float64)
    return members, torch.zeros(4, num_values, dtype=torch.float64)


def test_the_answers_of_the_members_stand_side_by_side():
    members = [nn.Linear(3, 2) for _ in range(4)]
    x = torch.randn(5, 3)
    answers = Ensemble(members)(x)
    assert answers.shape == (5, 4, 2)
    for member, answer in zip(members, answers.unbind(1), strict=True):
        torch.testing.assert_close(answer, member(x), rtol=0, atol=0)


def test_the_factor_is_kept_with_the_weights():
    ensemble, other = Ensemble([nn.Linear(1, 1)]), Ensemble([nn.Linear(1, 1)])
    ensemble.calibration.fill_(1.7)
    other.load_state_dict(ensemble.state_dict())
    assert float(other.calibration) == pytest.approx(1.7)


def test_the_deviation_is_that_of_a_sample():
    answers = torch.tensor([[1.0, 2.0, 6.0]])
    mean, deviation = mean_and_deviation(answers, 2.0)
    assert mean.item() == pytest.approx(3.0)
    # One degree of freedom less than members, as the server counts.
    assert deviation.item() == pytest.approx(2 * (14 / 2) ** 0.5)


def test_many_members_of_known_scatter_get_the_ratio_of_error_to_scatter():
    answers, target = _noisy(2000, 400, error=0.3, scatter=0.1)
    # 8000 errors pin their 95 % quantile down to 2 %, 400 members their scatter to 4 %.
    assert fitted_calibration(answers, target) == pytest.approx(3.0, rel=0.1)


def test_two_deviations_cover_as_much_of_fresh_errors_as_of_normal_ones():
    calibration = fitted_calibration(*_noisy(4000, 5, error=0.2, scatter=0.1))
    answers, target = _noisy(4000, 5, error=0.2, scatter=0.1)
    # Shares of 16000 independent values scatter by 0.0016, on either side.
    assert coverage(answers, target, calibration, 2.0) == pytest.approx(
        TWO_SIGMA_COVERAGE, abs=0.01
    )


def test_members_that_agree_exactly_do_not_spoil_the_factor():
    answers, target = _noisy(4000, 5, error=0.2, scatter=0.1)
    calibration = fitted_calibration(answers, target)
    # At a wall all members are right.
    answers[:, :, :40], target[:, :40] = 0.0, 0.0
    assert fitted_calibration(answers, target) == pytest.approx(calibration, rel=0.02)
