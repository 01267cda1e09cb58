import pytest
import torch
from safetensors.torch import load_file

from certisolve_zoo.data import Samples
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs import poisson_dcdm, poisson_solvers
from certisolve_zoo.specs.poisson_iterations import classical, learned, table
from certisolve_zoo.training import TrainingRun, relative_l2

NUM_PROBLEMS = 20


@pytest.fixture(scope="module")
def network():
    return load_model(poisson_dcdm.SPEC, WEIGHTS)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Samples:
    [samples] = poisson_dcdm.unseen(NUM_PROBLEMS, tmp_path_factory.getbasetemp())
    return samples


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_every_problem_takes_fewer_iterations_than_with_jacobi(network, samples, tolerance):
    ours = learned(network, samples, tolerance, NUM_PROBLEMS)
    theirs = classical(poisson_solvers.by_diagonal, samples, tolerance)
    assert ours.converged == theirs.converged == NUM_PROBLEMS
    for fewer, more in zip(ours.iterations, theirs.iterations, strict=True):
        assert 10 * fewer < more


def test_the_smallest_tolerance_is_reached(network, samples):
    system = poisson_dcdm.SPEC.system
    assert system is not None
    solution = poisson_dcdm.iterate(network, *samples.inputs, system.smallest_tolerance)
    assert solution.converged.all()
    assert relative_l2(solution.x, samples.target).max() < 1e-9


def test_a_tighter_tolerance_gives_a_better_answer(network, samples):
    errors = [
        relative_l2(poisson_dcdm.iterate(network, *samples.inputs, tolerance).x, samples.target)
        for tolerance in (1e-3, 1e-5, 1e-7)
    ]
    assert (errors[0] > errors[1]).all()
    assert (errors[1] > errors[2]).all()


def test_answers_do_not_depend_on_batch_mates(network, samples):
    a, f = (tensor[:6] for tensor in samples.inputs)
    together = poisson_dcdm.iterate(network, a, f)
    # In float32 a network's sums depend on the size of the batch, an answer on its directions only
    # through what the tolerance leaves open.
    for sample in range(6):
        one = slice(sample, sample + 1)
        alone = poisson_dcdm.iterate(network, a[one], f[one])
        assert abs(alone.iterations - together.iterations[one]) <= 1
        assert relative_l2(alone.x, together.x[one]) < 1e-7


def test_a_longer_set_of_unseen_problems_begins_as_a_shorter(samples, tmp_path):
    [few] = poisson_dcdm.unseen(4, tmp_path)
    for tensor, longer in zip(few.inputs, samples.inputs, strict=True):
        assert torch.equal(tensor, longer[:4])


def test_other_units_are_the_same_problem(network, samples):
    a, f = (tensor[:3] for tensor in samples.inputs)
    solution, scaled = (
        poisson_dcdm.iterate(network, factor * a, 1e6 * factor * f) for factor in (1.0, 1e-3)
    )
    assert relative_l2(scaled.x, solution.x).max() < 1e-7


def test_far_beyond_what_was_trained_the_residual_is_still_reached(network, samples):
    a, f = (tensor[:3] for tensor in samples.inputs)
    solution = poisson_dcdm.iterate(network, (2 * a.log()).exp().clamp(0.01, 100.0), f)
    assert solution.converged.all()


@pytest.mark.parametrize("solver", poisson_dcdm.SPEC.solvers, ids=lambda solver: solver.name)
def test_classical_solvers_solve_the_same_problems(solver, samples):
    a, f = (tensor[:2].numpy() for tensor in samples.inputs)
    errors = relative_l2(torch.from_numpy(solver.solve(a, f)), samples.target[:2])
    # The loosest tolerance of the ladder is 1e-4.
    assert errors.max() < 1e-2


def test_the_table_has_every_method(network, samples):
    lines = table(network, samples[:2]).splitlines()
    methods = len(poisson_solvers.PRECONDITIONERS) + 2
    assert len(lines) == 2 + 2 * methods + 1
    assert all("| 2 of 2 |" in line for line in lines[2:-1])


def test_training_starts_from_random_weights_and_leaves_a_checkpoint(tmp_path, monkeypatch):
    for size in ("NUM_FIELDS", "BATCHES_PER_EPOCH", "BATCH_SIZE"):
        monkeypatch.setattr(poisson_dcdm, size, 2)
    network = poisson_dcdm.train(TrainingRun("poisson-dcdm", tmp_path, seed=0, scale=1e-3))
    stored = load_file(tmp_path / "poisson-dcdm.safetensors")
    for name, parameter in network.state_dict().items():
        torch.testing.assert_close(stored[name], parameter)
