"""Poisson's equation with a variable coefficient, directly and by iterations.

    -∇·(a ∇u) = f on (0, 1)²,   u = 0 on the boundary

Grid: N x N nodes, both ends included; see `five_point`, whose matrix is also the one of learned
search directions. Second order in h for smooth a. Good values: N = 66, that is 64² unknowns, and a
from `lognormal_coefficient`; to a residual of 1e-8, `solve_iteratively` takes about 11 iterations,
division by the diagonal about 220. What jumps, `faulted_coefficient`, belongs on the cells of
`finite_volumes`.
"""

import numpy as np
from jaxtyping import Float64
from scipy.fft import dstn

from .conjugate_gradients import Iterated, conjugate_gradients
from .five_point import five_point_load, five_point_matrix
from .random_fields import neumann_grf


def lognormal_coefficient(
    rng: np.random.Generator, num_samples: int, num_points: int, *, contrast: float = 2.0
) -> Float64[np.ndarray, "sample y x"]:
    """exp(contrast · G) at N x N nodes, G a Gaussian field (α = 2, τ = 3) of deviation 0.30."""
    return np.asarray(np.exp(contrast * neumann_grf(rng, num_samples, num_points)))


def faulted_coefficient(
    rng: np.random.Generator, num_samples: int, num_cells: int
) -> Float64[np.ndarray, "sample y x"]:
    """2^(±1) · exp(2 G) in N x N cells: log-normal rock of two kinds.

    G and the field whose sign tells the kinds apart are Gaussian (α = 2, τ = 3), means of the four
    corners of a cell. The jumps are what `solve_iteratively` has no remedy for; the largest value
    is typically 40 times the smallest, at the extremes 10 and 200 times.
    """
    fields = neumann_grf(rng, 2 * num_samples, num_cells + 1)
    rows = 0.5 * (fields[:, 1:] + fields[:, :-1])
    logarithm, kind = np.split(0.5 * (rows[:, :, 1:] + rows[:, :, :-1]), 2)
    return np.asarray(np.exp(2 * logarithm) * np.where(kind >= 0, 2.0, 0.5))


def random_sources(
    rng: np.random.Generator, num_samples: int, num_cells: int
) -> Float64[np.ndarray, "sample y x"]:
    """Sources of root mean square 1 in N x N cells, of three sorts in turn.

    Smooth (1 plus 2 G of `lognormal_coefficient`), white noise, and ten wells: normal rates in
    single cells.
    """
    shape = (num_samples, num_cells, num_cells)
    smooth = 1 + 2 * neumann_grf(rng, num_samples, num_cells)
    noise = rng.standard_normal(shape)
    wells = np.zeros((num_samples, num_cells**2))
    cells = rng.integers(num_cells**2, size=(num_samples, 10))
    np.put_along_axis(wells, cells, rng.standard_normal(cells.shape), axis=1)
    sort = np.arange(num_samples)[:, None, None] % 3
    sources = np.choose(sort, [smooth, noise, wells.reshape(shape)])
    return np.asarray(sources / np.sqrt(np.mean(sources**2, axis=(1, 2), keepdims=True)))


def fast_poisson(
    load: Float64[np.ndarray, "*sample y_inner x_inner"],
) -> Float64[np.ndarray, "*sample y_inner x_inner"]:
    """The solution for a = 1 and right side `load` (that is h² f), by sine transforms.

    load has no boundary nodes.
    """
    size = load.shape[-1] + 1
    eigenvalues = 4 * np.sin(np.pi * np.arange(1, size) / (2 * size)) ** 2
    spectrum = dstn(load, type=1, axes=(-2, -1), norm="ortho")
    spectrum /= eigenvalues[:, None] + eigenvalues[None, :]
    return np.asarray(dstn(spectrum, type=1, axes=(-2, -1), norm="ortho"))


def fast_poisson_in_cells(
    load: Float64[np.ndarray, "*sample y x"],
) -> Float64[np.ndarray, "*sample y x"]:
    """The solution for a = 1 of the cells of `finite_volumes`, by sine transforms about centres.

    load is f.
    """
    size = load.shape[-1]
    eigenvalues = (2 * size * np.sin(np.pi * np.arange(1, size + 1) / (2 * size))) ** 2
    spectrum = dstn(load, type=2, axes=(-2, -1), norm="ortho")
    spectrum /= eigenvalues[:, None] + eigenvalues[None, :]
    return np.asarray(dstn(spectrum, type=3, axes=(-2, -1), norm="ortho"))


def solve_iteratively(
    coefficient: Float64[np.ndarray, "y x"],
    source: Float64[np.ndarray, "y x"] | float,
    *,
    rtol: float = 1e-8,
    max_iterations: int = 1000,
) -> tuple[Float64[np.ndarray, "y x"], Iterated]:
    """The solution at all nodes by conjugate gradients, and their report.

    The preconditioner is that of Concus & Golub (1973): with v = √a u the operator is that of a = 1
    and a term without derivatives, so that `fast_poisson` between divisions by √a is close to the
    inverse on every grid.

    Args:
        coefficient: a at the nodes, positive.
        source: f, one number or a value at each node.
        rtol: of the residual.
        max_iterations: bound on the iterations.
    """
    inner = (coefficient.shape[0] - 2, coefficient.shape[1] - 2)
    root = np.sqrt(coefficient[1:-1, 1:-1])

    def precondition(residual: np.ndarray) -> np.ndarray:
        return np.asarray((fast_poisson(residual.reshape(inner) / root) / root).ravel())

    iterated = conjugate_gradients(
        five_point_matrix(coefficient),
        five_point_load(coefficient.shape, source),
        rtol=rtol,
        max_iterations=max_iterations,
        precondition=precondition,
    )
    return np.pad(iterated.solution.reshape(inner), 1), iterated
