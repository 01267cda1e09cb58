import pytest
import torch

from certisolve_zoo.operators.galerkin import GalerkinAttention, GalerkinTransformer


@pytest.fixture
def network():
    return GalerkinTransformer(2, 1, 2, 8, 2, 2).double()


@pytest.fixture
def points():
    return torch.randn(3, 15, 2).double(), torch.rand(3, 15, 2).double()


def test_permuted_points_permute_the_solution(network, points):
    order = torch.randperm(15)
    permuted = network(*(each[:, order] for each in points))
    torch.testing.assert_close(permuted, network(*points)[:, order], rtol=0, atol=1e-12)


def test_points_listed_twice_change_nothing(network, points):
    """The sums over points are quadratures: they do not grow with the number of points."""
    doubled = network(*(each.repeat(1, 2, 1) for each in points))
    torch.testing.assert_close(doubled, network(*points).repeat(1, 2, 1), rtol=0, atol=1e-12)


def test_the_attention_equals_its_quadratic_form(points):
    """Q (K^T V)/n = (Q K^T) V/n: what is saved is the matrix over pairs of points."""
    attention = GalerkinAttention(6, 2, 2).double()
    hidden, position = torch.randn(3, 15, 6).double(), points[1]
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        query, key, value = (
            each(hidden)[..., part] for each in (attention.query, attention.key, attention.value)
        )
        normalise = torch.nn.LayerNorm(3, elementwise_affine=False).double()
        query, key, value = (
            torch.cat([each, position], dim=2) for each in (query, normalise(key), normalise(value))
        )
        heads.append(query @ key.transpose(1, 2) @ value / 15)
    expected = attention.merge(torch.cat(heads, dim=2))
    torch.testing.assert_close(attention(hidden, position), expected, rtol=0, atol=1e-12)
