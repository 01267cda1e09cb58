"""Bounds of structured operators against the matrices that torch gives of the same maps."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest, NotCertified
from certisolve_server.certifier.operators import (
    Composition,
    Convolution,
    Dense,
    Diagonal,
    Pointwise,
    Rearrangement,
    Spectral,
    Sum,
    grid_weighted,
)

ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}
ROUNDING = 1e-12


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exact(*shape: int, seed: int = 0) -> Interval:
    return Interval.exact(random(*shape, seed=seed))


def dense(function, shape: tuple[int, ...]) -> torch.Tensor:
    """The matrix of a map of tensors of one shape, by its columns."""
    unit = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([function(column.unsqueeze(0)).flatten() for column in unit], 1)


def agree(operator, matrix: torch.Tensor, loss: float = ROUNDING) -> None:
    """The operator is that matrix, and its norms are above the true ones by less than a share."""
    assert (operator.outputs, operator.inputs) == matrix.shape
    near = operator.matrix()
    assert bool(((near.lower - 1e-9 <= matrix) & (matrix <= near.upper + 1e-9)).all())
    assert float((near.upper - near.lower).max()) < 1e-9
    for norm, order in ORDERS.items():
        true = float(torch.linalg.matrix_norm(matrix, order))
        assert true * (1 - ROUNDING) <= operator.norm(norm) <= true * (1 + loss), norm


def test_plain_operators_are_their_matrices():
    weight = random(4, 6)
    agree(Dense(Interval.exact(weight)), weight)
    agree(Diagonal(exact(5)), torch.diag(random(5)))
    agree(Pointwise(Interval.exact(weight), 5), torch.kron(weight, torch.eye(5)))
    places = torch.tensor([3, -1, 0, 4])
    agree(
        Rearrangement(places, 6),
        torch.eye(6, dtype=torch.float64)[[3, 1, 0, 4]] * torch.tensor([[1.0], [0], [1], [1]]),
    )


def test_sums_and_compositions_are_bounded_by_their_parts():
    a, b, c = random(4, 6), random(4, 4, seed=1), random(4, 6, seed=2)
    parts = [Dense(Interval.exact(m)) for m in (a, b, c)]
    product, together = Composition(tuple(parts[:2])), Sum((parts[0], parts[2]))
    for norm, order in ORDERS.items():
        assert product.norm(norm) >= float(torch.linalg.matrix_norm(b @ a, order))
        assert together.norm(norm) >= float(torch.linalg.matrix_norm(a + c, order))
    x = exact(3, 6, seed=9)
    assert bool(product.apply(x).contains(x.lower @ (b @ a).mT).all()) or product.apply(
        x
    ).lower.allclose(x.lower @ (b @ a).mT)
    assert together.apply(x).lower.allclose(x.lower @ (a + c).mT)


KERNELS = [
    # grid, kernel, stride, padding, dilation, groups
    ((12,), (3,), (1,), (1,), (1,), 1),
    ((12,), (5,), (2,), (2,), (1,), 1),
    ((12,), (3,), (3,), (1,), (2,), 2),
    ((12,), (1,), (2,), (0,), (1,), 1),
    ((6, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((6, 4), (3, 3), (2, 2), (1, 1), (1, 1), 2),
    ((5, 7), (2, 3), (2, 1), (0, 2), (1, 2), 1),
]


@pytest.mark.parametrize(("grid", "kernel", "stride", "padding", "dilation", "groups"), KERNELS)
def test_convolutions_with_zeros_around_are_below_their_bound(
    grid, kernel, stride, padding, dilation, groups
):
    weight = random(4, 2, *kernel)
    operator = Convolution(Interval.exact(weight), grid, stride, padding, dilation, groups)
    conv = functional.conv1d if len(grid) == 1 else functional.conv2d
    matrix = dense(
        lambda x: conv(x, weight, None, stride, padding, dilation, groups), (2 * groups, *grid)
    )
    agree(operator, matrix, 0.7)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("taps", "dilation"), [(3, 1), (5, 1), (3, 2), (7, 1)])
def test_circular_convolutions_have_exactly_the_norm_of_their_blocks(taps, dilation, stride):
    around = dilation * (taps - 1) // 2
    weight = random(3, 2, taps)

    def circular(x):
        wide = functional.pad(x, (around, around), mode="circular")
        return functional.conv1d(wide, weight, None, stride, 0, dilation)

    operator = Convolution(
        Interval.exact(weight), (12,), (stride,), (around,), (dilation,), circular=True
    )
    agree(operator, dense(circular, (2, 12)))


def test_circular_convolutions_in_two_dimensions():
    weight = random(3, 2, 3, 5)

    def circular(x):
        return functional.conv2d(
            functional.pad(x, (2, 2, 1, 1), mode="circular"), weight, stride=(1, 2)
        )

    operator = Convolution(Interval.exact(weight), (5, 6), (1, 2), (1, 2), (1, 1), circular=True)
    agree(operator, dense(circular, (2, 5, 6)))


def layer(weights, frequencies, pointwise=None):
    """The map of a spectral layer as torch computes it."""

    def function(x):
        axes = tuple(range(-len(frequencies[0]), 0))
        spectrum = torch.fft.rfftn(x, dim=axes)
        result = torch.zeros((1, weights.shape[1], *spectrum.shape[2:]), dtype=torch.complex128)
        for k, block in zip(frequencies, weights, strict=True):
            result[(0, slice(None), *k)] = block @ spectrum[(0, slice(None), *k)]
        field = torch.fft.irfftn(result, s=x.shape[2:], dim=axes)
        return field if pointwise is None else field + torch.einsum("oi,bi...->bo...", pointwise, x)

    return function


def modes(*kept) -> list[tuple[int, ...]]:
    return list(itertools.product(*kept))


GRIDS = [
    ((8,), modes(range(3))),
    ((8,), modes(range(5))),  # with k = n / 2
    ((9,), modes(range(5))),
    ((7,), modes([1, 2])),
    ((6, 6), modes([0, 1, -1, -2], range(2))),  # a column of k_last = 0 with a missing partner
    ((4, 6), modes([0, 1, -2, -1], range(4))),  # all of them
    ((5, 4), modes([-1, 2], [0, 2])),
]


@pytest.mark.parametrize("with_pointwise", [False, True])
@pytest.mark.parametrize(("grid", "kept"), GRIDS)
def test_spectral_layers_are_what_torch_computes(grid, kept, with_pointwise):
    weights = random(len(kept), 2, 3, dtype=torch.complex128)
    pointwise = random(2, 3, seed=5) if with_pointwise else None
    operator = Spectral.of_weights(weights, kept, grid)
    if pointwise is not None:
        operator = operator.plus_pointwise(Interval.exact(pointwise))
    matrix = dense(layer(weights, kept, pointwise), (3, *grid))
    everything = len(kept) == 16 or grid == (9,) or len(kept) == 5
    agree(operator, matrix, 2.0 if everything and with_pointwise else 1e-11)


def test_the_mean_goes_through_real_parts_alone():
    weights = random(3, 2, 2, dtype=torch.complex128)
    weights[0] *= 10.0
    operator = Spectral.of_weights(weights, modes(range(3)), (16,))
    naive = max(float(torch.linalg.matrix_norm(block, 2)) for block in weights)
    assert operator.norm("l2") < 0.99 * naive


def test_bounds_of_spectral_layers_are_the_same_on_all_grids():
    weights = random(12, 4, 4, dtype=torch.complex128)
    norms = {
        Spectral.of_weights(weights, modes(range(12)), (n,)).norm("l2")
        for n in (24, 256, 512, 1024)
    }
    assert len(norms) == 1


def test_fused_operators_are_bounded_more_sharply_than_their_parts():
    weights = random(4, 3, 3, dtype=torch.complex128)
    w, p = exact(3, 3, seed=1), exact(3, 2, seed=2)
    spectral = Spectral.of_weights(weights, modes(range(4)), (9,))
    fused = spectral.plus_pointwise(w).after_pointwise(p)
    apart = Composition((Pointwise(p, 9), Sum((spectral, Pointwise(w, 9)))))
    assert torch.allclose(fused.matrix().lower, apart.matrix().lower, atol=1e-9)
    assert fused.norm("l2") <= apart.norm("l2")


def test_norms_on_grids_do_not_depend_on_their_size_but_where_it_changes():
    assert grid_weighted(3.0, 8, 8) == 3.0
    # Every second point of a grid: up to sqrt 2 more, as all of a field may lie there.
    assert math.sqrt(2) * 3 <= grid_weighted(3.0, 8, 4) <= math.sqrt(2) * 3 * (1 + 1e-12)


def test_enclosed_weights_are_bounded_at_their_worst():
    weight = random(3, 2, 3)
    around = Convolution(Interval.ball(weight, 1e-3), (8,), (1,), (1,), (1,), circular=True)
    at_worst = Convolution(
        Interval.exact(weight + 1e-3 * weight.sign()), (8,), (1,), (1,), (1,), circular=True
    )
    for norm in ORDERS:
        assert around.norm(norm) >= at_worst.norm(norm) * (1 - ROUNDING)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InvalidRequest):
        Rearrangement(torch.tensor([0, 0]), 2)
    with pytest.raises(InvalidRequest):
        Convolution(exact(3, 2, 3), (8,), (3,), (1,), (1,), circular=True)
    with pytest.raises(InvalidRequest):
        Convolution(exact(3, 2, 3), (8,), (1,), (0,), (1,), circular=True)
    with pytest.raises(InvalidRequest):
        Composition((Dense(exact(2, 3)), Dense(exact(2, 3))))
    weights = random(2, 2, 2, dtype=torch.complex128)
    for frequencies in ([(1,), (1,)], [(1,), (9,)], [(1,), (7,)]):
        with pytest.raises(InvalidRequest):
            Spectral.of_weights(weights, frequencies, (8,))
    with pytest.raises(NotCertified):
        Dense(Interval.entire((2, 2))).norm("l2")
