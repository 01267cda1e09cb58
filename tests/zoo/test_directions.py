from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_zoo.directions.loop import solve_along_directions
from certisolve_zoo.directions.network import SymmetricDirections
from certisolve_zoo.directions.operator import FiniteVolumes
from certisolve_zoo.directions.pool import ProblemPool
from certisolve_zoo.directions.ritz import ritz_right_hand_sides, ritz_vectors
from certisolve_zoo.pdes.conjugate_gradients import conjugate_gradients, jacobi
from certisolve_zoo.pdes.finite_volumes import finite_volume_matrix, solve_cells_directly
from certisolve_zoo.pdes.poisson import faulted_coefficient, random_sources

SIZE = 16
NETWORKS = {
    "the residual": lambda r: r,
    "its opposite": lambda r: -r,
    "nothing": torch.zeros_like,
    "NaN": lambda r: torch.full_like(r, torch.nan),
    "infinity": lambda r: torch.full_like(r, torch.inf),
    "noise": torch.randn_like,
    "one direction": torch.ones_like,
    "float32": lambda r: r.float(),
}


def _problems(num_samples, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    a = torch.from_numpy(faulted_coefficient(rng, num_samples, size))
    return a, torch.from_numpy(random_sources(rng, num_samples, size))


def _solve(network, a, b, **keywords):
    return solve_along_directions(lambda x: FiniteVolumes()(x, a), network, b, **keywords)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_problem_converges_whatever_the_network_returns(network):
    a, b = _problems(6, size=8)
    solution = _solve(network, a, b)
    assert solution.converged.all()
    assert (solution.relative_residual <= 1e-8).all()
    residual = (b - FiniteVolumes()(solution.x, a)).flatten(1).norm(dim=1)
    torch.testing.assert_close(residual / b.flatten(1).norm(dim=1), solution.relative_residual)


def test_no_step_lowers_the_energy_less_than_steepest_descent_would():
    a, b = _problems(4)
    operator = FiniteVolumes()
    exact = torch.from_numpy(np.stack([*map(solve_cells_directly, a.numpy(), b.numpy())]))
    energies, gains = [], []
    for steps in range(12):
        # The same noise each time, so that every run continues the one before.
        generator = torch.Generator().manual_seed(0)
        noise = partial(torch.randn, b.shape, generator=generator)
        x = _solve(lambda r: noise(), a, b, max_iterations=steps).x  # noqa: B023
        error, r = x - exact, b - operator(x, a)
        energies.append((error * operator(error, a)).sum(dim=(1, 2)))
        gains.append((r * r).sum(dim=(1, 2)) ** 2 / (r * operator(r, a)).sum(dim=(1, 2)))
    lowered = torch.stack(energies[:-1]) - torch.stack(energies[1:])
    assert (lowered >= (1 - 1e-9) * torch.stack(gains[:-1])).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_symmetric_positive_networks_make_preconditioned_conjugate_gradients(scaled):
    a, b = _problems(6)
    matrices = [finite_volume_matrix(field) for field in a.numpy()]
    diagonal = torch.from_numpy(np.stack([matrix.diagonal() for matrix in matrices]))
    network = (lambda r: r / diagonal.reshape(r.shape)) if scaled else (lambda r: r)
    iterations = _solve(network, a, b).iterations.numpy()
    classical = []
    for matrix, load in zip(matrices, b.numpy(), strict=True):
        precondition = jacobi(matrix) if scaled else np.copy
        report = conjugate_gradients(
            matrix, load.ravel(), rtol=1e-8, max_iterations=1000, precondition=precondition
        )
        classical.append(report.num_iterations)
    # The recursions round differently, which delays one or the other by a few steps.
    np.testing.assert_allclose(iterations, classical, rtol=0.1)


def test_the_exact_inverse_needs_one_step():
    a, b = _problems(3)

    def inverse(r):
        solutions = map(solve_cells_directly, a.numpy(), r.numpy())
        return torch.from_numpy(np.stack([*solutions]))

    assert _solve(inverse, a, b).iterations.tolist() == [1, 1, 1]


def test_a_sample_that_has_converged_is_left_alone_by_its_batch_mates():
    a, b = _problems(4)
    b[1] = FiniteVolumes()(b[1:2], a[1:2])  # needs another number of steps
    b[2] = 0.0
    together = _solve(lambda r: r, a, b)
    assert together.iterations.unique().numel() > 1
    for sample in range(4):
        one = slice(sample, sample + 1)
        alone = _solve(lambda r: r, a[one], b[one])
        assert alone.iterations == together.iterations[one]
        torch.testing.assert_close(alone.x, together.x[one], rtol=0, atol=0)
        assert alone.relative_residual == together.relative_residual[one]
    assert together.iterations[2] == 0
    assert together.relative_residual[2] == 0
    assert together.converged.all()


def test_too_few_iterations_are_said_to_be_too_few():
    a, b = _problems(3)
    solution = _solve(lambda r: r, a, b, max_iterations=5)
    assert solution.iterations.tolist() == [5, 5, 5]
    assert not solution.converged.any()
    assert (solution.relative_residual > 1e-8).all()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31))
def test_no_weights_make_the_network_anything_but_linear_symmetric_and_positive(seed):
    torch.manual_seed(seed)
    network = SymmetricDirections((3, 4, 5), (2, 3, 2)).double().requires_grad_(False)
    for parameter in network.parameters():
        parameter.data = 0.5 * torch.randn_like(parameter)
    a, _ = _problems(1, seed=seed)
    a = a[:, :8, :12]
    basis = torch.eye(96, dtype=torch.float64).reshape(96, 8, 12)
    matrix = network(basis, a.expand(96, -1, -1)).reshape(96, 96)
    size = matrix.abs().max()
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=float(1e-12 * size))
    assert torch.linalg.eigvalsh(matrix).min() > 0
    r = torch.randn(1, 8, 12, dtype=torch.float64)
    expected = (r.flatten() @ matrix).reshape(1, 8, 12)
    torch.testing.assert_close(network(r, a), expected, rtol=0, atol=float(1e-10 * size))
    # Directions have no length, a factor on the equation is none on them.
    torch.testing.assert_close(network(r, 7 * a), expected, rtol=0, atol=float(1e-10 * size))


def test_ritz_vectors_are_orthonormal_and_find_the_ends_of_the_spectrum():
    a, _ = _problems(1)
    matrix = finite_volume_matrix(a[0].numpy())
    values, vectors = ritz_vectors(matrix, np.random.default_rng(0), num_steps=120)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(120), atol=1e-10)
    exact = np.linalg.eigvalsh(matrix.toarray())
    np.testing.assert_allclose(values[[0, 1, -2, -1]], exact[[0, 1, -2, -1]], rtol=1e-6)


def test_right_hand_sides_favour_the_lower_half_of_the_spectrum():
    a, _ = _problems(1, 24)
    matrix = finite_volume_matrix(a[0].numpy())
    loads = ritz_right_hand_sides(matrix, np.random.default_rng(0), 16)
    np.testing.assert_allclose(np.linalg.norm(loads, axis=1), 1.0)
    _, vectors = ritz_vectors(matrix, np.random.default_rng(0))
    lower = np.sum((loads @ vectors[: len(vectors) // 2].T) ** 2, axis=1)
    # 81 parts to 1 of as many.
    assert lower.mean() > 0.85


def _pool(num_steps=6):
    a, b = _problems(4)
    solutions = np.stack([*map(solve_cells_directly, a.numpy(), b.numpy())])
    generator = torch.Generator().manual_seed(0)
    solved = torch.from_numpy(solutions).float()[:, None]
    return ProblemPool(FiniteVolumes(), a.float(), solved, num_steps, generator)


def test_the_loss_of_the_exact_direction_is_the_smallest():
    pool = _pool()
    for batch in pool.batches(5, 8):
        # Nothing is left but what float32 rounds.
        assert float(pool.loss(batch.target, batch.target)) < np.log(1e-4)


def test_the_pool_takes_the_steps_of_the_iteration():
    # 512 problems, all in every batch: those of age zero are followed for three steps.
    pool = _pool(num_steps=50)
    pool._age.zero_()
    a0, e0, losses = None, None, []
    for batch in pool.batches(3, 512):
        order = pool._chosen.argsort()
        if e0 is None:
            a0, e0 = batch.inputs[1][order].double(), batch.target[order].double()
        losses.append(float(pool.loss(batch.inputs[0], batch.target)))
    b = FiniteVolumes()(e0, a0)
    energies = []
    for steps in range(4):
        error = e0 - _solve(lambda r: r, a0, b, max_iterations=steps).x
        energies.append((error * FiniteVolumes()(error, a0)).sum(dim=(1, 2)).log().mean())
    # Of float32.
    np.testing.assert_allclose(
        np.cumsum(losses), torch.stack(energies)[1:] - energies[0], atol=1e-3
    )


def test_a_short_training_lowers_the_loss():
    network = SymmetricDirections((4, 8, 8), (4, 4, 4))
    pool, optimizer = _pool(), torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for batch in pool.batches(40, 16):
        loss = pool.loss(network(*batch.inputs), batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5
