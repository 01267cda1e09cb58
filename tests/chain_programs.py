"""Bounds of chains by a general solver of semidefinite programs, as they are published."""

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from certisolve_server.certifier.chains import Chain, Folding, Slopes

Matrix = NDArray[np.float64]


def lipsdp(chain: Chain, inputs: str = "l2") -> float:
    """LipSDP-Neuron (Fazlyab et al., 2019), with skips; for linf and one output, GeoLIP."""
    sizes = [chain.maps[0].shape[-1], *(layer.neurons for layer in chain.slopes)]
    parts = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1])
    state, terms = parts[0], []
    for index, layer in enumerate(chain.slopes):
        assert isinstance(layer, Slopes)
        z, v = chain.maps[index].lower.numpy() @ state, parts[index + 1]
        weights = cp.Variable(layer.neurons, nonneg=True)
        low, high = layer.least.numpy()[:, None], layer.most.numpy()[:, None]
        product = (v - low * z).T @ cp.diag(weights) @ (high * z - v)
        terms.append((product + product.T) / 2)
        mix, skip = chain.mix(index), chain.skip(index)
        state_after = v if mix is None else mix.lower.numpy() @ v
        state = state_after if skip is None else state_after + skip.lower.numpy() @ state
    y = chain.maps[-1].lower.numpy() @ state
    if inputs == "l2":
        rho = cp.Variable(nonneg=True)
        first, total = rho * (parts[0].T @ parts[0]), rho
    else:
        own = cp.Variable(sizes[0], nonneg=True)
        first, total = parts[0].T @ cp.diag(own) @ parts[0], cp.sum(own)
    scale = float(np.linalg.norm(y))
    inequality = first - (y / scale).T @ (y / scale) - sum(terms)
    problem = cp.Problem(cp.Minimize(total), [(inequality + inequality.T) / 2 >> 0])
    problem.solve(solver=cp.CLARABEL)
    return scale * float(np.sqrt(problem.value))


def folds(chain: Chain, **settings: float) -> float:
    """Of plain chains of groups that are sorted, T = lambda I + gamma 1 1^T (Pauli et al., 2024).

    Each map is scaled to norm 1 first, or the solver fails on deep networks.

    Args:
        chain: what is bounded.
        settings: of the solver.
    """
    maps = [a.lower.numpy() for a in chain.maps]
    norms = [float(np.linalg.norm(a, 2)) for a in maps]
    rho = cp.Variable(nonneg=True)
    before, constraints = rho * np.eye(maps[0].shape[1]), []
    for a, size, layer in zip(maps, norms, chain.slopes, strict=False):
        assert isinstance(layer, Folding)
        groups, width = layer.axes.shape
        own, shared = cp.Variable(groups, nonneg=True), cp.Variable(groups)
        ones = np.kron(np.eye(groups), np.ones((1, width)))
        weight = cp.diag(ones.T @ own) + ones.T @ cp.diag(shared) @ ones
        difference = before - (a / size).T @ weight @ (a / size)
        constraints.append((difference + difference.T) / 2 >> 0)
        before = weight
    last = maps[-1] / norms[-1]
    constraints.append(before - last.T @ last >> 0)
    problem = cp.Problem(cp.Minimize(rho), constraints)
    problem.solve(solver=cp.CLARABEL, **settings)
    return float(np.prod(norms) * np.sqrt(problem.value))
