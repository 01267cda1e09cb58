"""Linear systems are solved to a residual that is measured, whatever the network proposes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from certisolve_server.jobs import Work
from family_models import SIZE, Direct, engine_of, jacobi, matrix_of, screened, screened_manifest

RNG = np.random.default_rng(2)
COEFFICIENTS = RNG.uniform(0.1, 0.9, (6, SIZE)).astype(np.float32)
SOURCES = RNG.normal(size=(6, SIZE))
TOLERANCE = screened_manifest().iteration.tolerance


def _noise(r, k):
    del k
    return torch.randn(r.shape, generator=torch.Generator().manual_seed(int(1e6 * abs(r).sum())))


class Repeats:
    """Proposes for ever what it saw first: soon a direction that was just taken."""

    def __init__(self):
        self.first = None

    def __call__(self, r, k):
        del k
        self.first = r if self.first is None else self.first
        return self.first


NETWORKS = {
    "good": jacobi,
    "the residual": lambda r, k: r,
    "uphill": lambda r, k: -r,
    "zero": lambda r, k: torch.zeros_like(r),
    "nan": lambda r, k: r * torch.nan,
    "infinite": lambda r, k: r * torch.inf,
    "huge": lambda r, k: 1e38 * torch.sign(r),
    "tiny": lambda r, k: 1e-45 * torch.sign(r),
    "orthogonal": lambda r, k: torch.roll(r, 1, dims=1) * torch.tensor([1.0, -1.0] * (SIZE // 2)),
    "one unknown": lambda r, k: torch.nn.functional.one_hot(
        torch.zeros(len(r)).long(), SIZE
    ).float(),
    "random": _noise,
}


def launch(rows, network=jacobi, tolerances=None, *, manifest=None, sources=SOURCES):
    engine = engine_of(manifest or screened_manifest(), network, operator=screened)
    sent = [[COEFFICIENTS[row] for row in rows], [sources[row] for row in rows]]
    work = [Work(tolerance=each) for each in tolerances or [None] * len(rows)]
    return engine.launch(sent, work).wait()


def residual(u, row, sources=SOURCES):
    matrix = matrix_of(torch.from_numpy(COEFFICIENTS[[row]]))[0].numpy()
    return np.linalg.norm(sources[row] - matrix @ u) / np.linalg.norm(sources[row])


@pytest.mark.parametrize("network", [*NETWORKS.values(), Repeats()], ids=[*NETWORKS, "repeats"])
def test_every_network_leads_to_the_solution(network):
    step = launch([0, 1, 2], network)
    assert list(step.findings["converged"]) == [1.0] * 3
    for row in range(3):
        [u] = step.row(row)
        assert u.dtype == np.float64
        assert residual(u, row) <= TOLERANCE * (1 + 1e-6)
        # The operator of the engine and the matrix here sum in another order.
        assert step.findings["residual"][row] == pytest.approx(residual(u, row), rel=1e-5)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_no_step_makes_the_error_grow_in_the_norm_of_the_operator(network):
    manifest = screened_manifest()
    matrix = matrix_of(torch.from_numpy(COEFFICIENTS[[0]]))[0].numpy()
    exact = np.linalg.solve(matrix, SOURCES[0])
    errors = [exact @ matrix @ exact]
    for count in range(1, 9):
        short = replace(manifest, iteration=replace(manifest.iteration, max_iterations=count))
        error = exact - launch([0], network, manifest=short).row(0)[0]
        errors.append(error @ matrix @ error)
    assert all(after <= before for before, after in itertools.pairwise(errors))


def test_a_good_network_needs_fewer_steps_than_none():
    # A diagonal over six orders of magnitude, which that of the preconditioner takes away.
    def stiff(u, k):
        return u * torch.logspace(0, 6, SIZE, dtype=torch.float64) + 0 * k

    def invert(r, k):
        del k
        return r / torch.logspace(0, 6, SIZE)

    def count(network):
        engine = engine_of(screened_manifest(), network, operator=stiff)
        step = engine.launch([[COEFFICIENTS[0]], [SOURCES[0]]], [Work()]).wait()
        return step.findings["nfe"][0]

    assert count(invert) <= 2 < count(lambda r, k: torch.zeros_like(r))


@settings(max_examples=25)
@given(st.lists(st.sampled_from([1e-2, 1e-5, 1e-8, 1e-11]), min_size=1, max_size=5))
def test_every_request_has_its_own_tolerance_and_the_answer_it_has_alone(tolerances):
    rows = range(len(tolerances))
    together = launch(rows, tolerances=tolerances)
    for row in rows:
        alone = launch([row], tolerances=[tolerances[row]])
        # Products over rows of one matrix and of five may be summed in another order.
        np.testing.assert_allclose(together.row(row)[0], alone.row(0)[0], rtol=1e-9, atol=1e-12)
        assert together.findings["nfe"][row] == alone.findings["nfe"][0]
        assert together.findings["residual"][row] <= tolerances[row]


def test_a_tighter_tolerance_takes_more_steps():
    nfe = launch([0] * 3, tolerances=[1e-2, 1e-6, 1e-10]).findings["nfe"]
    assert nfe[0] < nfe[1] < nfe[2]


def test_nothing_to_solve_takes_no_steps():
    step = launch([0, 1], sources=np.stack([np.zeros(SIZE), SOURCES[1]]))
    np.testing.assert_array_equal(step.row(0)[0], 0.0)
    assert step.findings["nfe"][0] == 0
    assert step.findings["residual"][0] == 0
    assert step.findings["converged"][0] == 1
    np.testing.assert_allclose(step.row(1)[0], launch([1]).row(0)[0], rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_right_hand_sides_of_any_size_are_solved(scale):
    step = launch([0], sources=scale * SOURCES)
    np.testing.assert_allclose(step.row(0)[0], scale * launch([0]).row(0)[0], rtol=1e-9)
    assert 0 < step.findings["residual"][0] <= TOLERANCE
    assert step.findings["converged"][0] == 1


def test_giving_up_is_told_with_the_residual_reached():
    manifest = screened_manifest()
    short = replace(manifest, iteration=replace(manifest.iteration, max_iterations=2))
    step = launch([0, 1], tolerances=[1e-12, 0.9], manifest=short)
    assert list(step.findings["converged"]) == [0.0, 1.0]
    assert step.findings["nfe"][0] == 2
    assert step.findings["residual"][0] == pytest.approx(residual(step.row(0)[0], 0), rel=1e-9)
    assert step.findings["residual"][0] > 1e-12


def test_an_operator_that_breaks_one_request_leaves_the_others_alone():
    coefficients = COEFFICIENTS.copy()
    coefficients[1] = np.inf
    engine = engine_of(screened_manifest(), jacobi, operator=screened)
    step = engine.launch([list(coefficients[:3]), list(SOURCES[:3])], [Work()] * 3).wait()
    assert step.finite[0]
    assert step.finite[2]
    assert not (step.finite[1] and step.findings["converged"][1])
    np.testing.assert_allclose(step.row(2)[0], launch([2]).row(0)[0], rtol=1e-9)


def test_an_operator_that_is_not_positive_ends_in_time_and_says_so():
    engine = engine_of(screened_manifest(), jacobi, operator=lambda u, k: -screened(u, k))
    step = engine.launch([[COEFFICIENTS[0]], [SOURCES[0]]], [Work()]).wait()
    assert step.findings["nfe"][0] <= screened_manifest().iteration.max_iterations
    if step.findings["converged"][0]:
        matrix = -matrix_of(torch.from_numpy(COEFFICIENTS[[0]]))[0].numpy()
        assert np.linalg.norm(SOURCES[0] - matrix @ step.row(0)[0]) <= 1e-7


def test_the_network_sees_float32_of_norm_one_and_the_operator_float64():
    seen = []

    def network(r, k):
        seen.append((r.dtype, k.dtype, torch.linalg.vector_norm(r.double(), dim=1)))
        return r

    def operator(u, k):
        assert (u.dtype, k.dtype) == (torch.float64, torch.float64)
        return screened(u, k)

    engine = engine_of(screened_manifest(), network, operator=operator)
    engine.launch([[COEFFICIENTS[0]], [1e9 * SOURCES[0]]], [Work()]).wait()
    for r_dtype, k_dtype, norm in seen:
        assert (r_dtype, k_dtype) == (torch.float32, torch.float32)
        assert norm.item() == pytest.approx(1.0, abs=1e-6)


def test_the_network_is_called_once_per_step():
    program = Direct(jacobi)
    step = launch([0], program)
    assert program.calls == step.findings["nfe"][0]
