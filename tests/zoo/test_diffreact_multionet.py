"""What the trained ensemble promises beside its mean error."""

import numpy as np
import pytest
import torch

from certisolve_zoo.ensemble import coverage, mean_and_deviation
from certisolve_zoo.evaluation import answer
from certisolve_zoo.pdes.random_fields import squared_exponential_grf
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs.diffreact_data import NUM_SENSORS
from certisolve_zoo.specs.diffreact_multionet import MAX_SOURCE, SPEC, postprocess
from certisolve_zoo.training import relative_l2

NUM_SOURCES = 50


@pytest.fixture(scope="module")
def network():
    return load_model(SPEC, WEIGHTS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return SPEC.unseen(NUM_SOURCES, tmp_path_factory.mktemp("cache"))[0]


@pytest.fixture(scope="module")
def answers(network, samples):
    """Of the members."""
    with torch.inference_mode():
        return network(*samples.inputs)


@pytest.fixture(scope="module")
def answered(network, answers):
    """Mean and deviation."""
    return mean_and_deviation(answers, float(network.calibration))


def test_unseen_sources_lie_within_the_bounds(samples):
    assert samples.inputs[0].abs().max() <= MAX_SOURCE


# Measured on 256 sources. From source to source the shares scatter by 0.096 and 0.034, hence over
# 50 of them by 0.014 and 0.005: four of these to either side.
@pytest.mark.parametrize(
    ("num_deviations", "share", "scatter"), [(1, 0.832, 0.014), (2, 0.961, 0.005)]
)
def test_errors_lie_within_the_deviations(
    network, answers, samples, num_deviations, share, scatter
):
    covered = coverage(answers, samples.target, float(network.calibration), num_deviations)
    assert covered == pytest.approx(share, abs=4 * scatter)


def test_the_deviation_is_as_large_as_the_error(answered, samples):
    mean, deviation = answered
    off_walls = deviation > 0
    normalised = ((mean - samples.target)[off_walls] / deviation[off_walls]).square().mean()
    # Measured on 256 sources: 0.93. Few members, hence heavy tails.
    assert 0.7 < normalised < 1.5


def test_sources_with_large_deviations_have_large_errors(answered, samples):
    mean, deviation = answered
    error = (mean - samples.target).square().mean(dim=1).log()
    spread = deviation.square().mean(dim=1).log()
    # Of independent pairs, 50 would reach 0.4 once in 500 times.
    assert torch.corrcoef(torch.stack((error, spread)))[0, 1] > 0.4


def test_the_mean_is_better_than_the_members(answers, samples):
    members = [relative_l2(member, samples.target).mean() for member in answers.unbind(1)]
    assert relative_l2(answers.mean(1), samples.target).mean() < min(members)


def test_the_field_starts_as_the_source_times_the_time(network, samples):
    source = samples.inputs[0]
    x = torch.linspace(0.2, 0.8, 61).expand(NUM_SOURCES, -1)
    mean, _ = answer(network, SPEC, (source, x, torch.full_like(x, 1e-3)))
    # D f''/2f = 0.1: at that time diffusion changes u by 1e-4 of itself. Ten times the error at
    # later times remains, for training hardly sees so small a part of u.
    assert relative_l2(mean / 1e-3, source[:, 20:81]).mean() < 0.01


def test_rougher_sources_have_larger_deviations(network, answered, samples):
    rng = np.random.default_rng(0)
    rough = squared_exponential_grf(rng, NUM_SOURCES, NUM_SENSORS, length_scale=0.1)
    points = (tensor[:, :100] for tensor in samples.inputs[1:])
    _, deviation = answer(network, SPEC, (torch.from_numpy(rough).float(), *points))
    # Measured: 50 times as large.
    assert deviation.square().mean() > 20**2 * answered[1].square().mean()


def test_the_server_is_told_the_factor(network):
    [ensemble] = postprocess(network)
    assert (ensemble.kind, ensemble.output, ensemble.deviation) == ("ensemble", "u", "u_std")
    assert ensemble.calibration == float(network.calibration)
