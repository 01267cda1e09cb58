import pytest
import torch
from torch.nn import functional

from certisolve_zoo.operators.deeponet import DeepOnet
from certisolve_zoo.operators.multionet import MultiOnet

FAMILIES = (DeepOnet, MultiOnet)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def network(request):
    return request.param((7, 5), 2, 8, 3).double()


@pytest.fixture
def functions():
    return torch.randn(3, 7).double(), torch.randn(3, 5).double()


def test_permuted_query_points_permute_the_field(network, functions):
    query = torch.rand(3, 20, 2).double()
    order = torch.randperm(20)
    permuted = network(*functions, query[:, order])
    torch.testing.assert_close(permuted, network(*functions, query)[:, order], rtol=0, atol=1e-12)


def test_a_point_does_not_see_the_others(network, functions):
    query = torch.rand(3, 20, 2).double()
    some = network(*functions, query[:, 4:9])
    torch.testing.assert_close(some, network(*functions, query)[:, 4:9], rtol=0, atol=1e-12)


def test_coefficients_serve_any_number_of_queries(network, functions):
    coefficients = network.coefficients(*functions)
    for num_points in (1, 3, 50):
        query = torch.rand(3, num_points, 2).double()
        field = network.evaluate(coefficients, query)
        torch.testing.assert_close(field, network(*functions, query), rtol=0, atol=0)


def test_every_input_function_matters(network, functions):
    query = torch.rand(3, 4, 2).double()
    field = network(*functions, query)
    first, second = functions
    assert not torch.allclose(network(first + 1, second, query), field)
    assert not torch.allclose(network(first, second + 1, query), field)


def test_multionet_is_the_mean_over_its_layers():
    network = MultiOnet((4,), 1, 6, 2).double()
    function, query = torch.randn(1, 4).double(), torch.randn(1, 1, 1).double()
    branch, trunk = network.branches[0].layers, network.trunk.layers
    b1, t1 = branch[0](function), trunk[0](query)
    b2, t2 = branch[1](functional.gelu(b1)), trunk[1](functional.gelu(t1))
    expected = ((b1 * t1).sum() + (b2 * t2).sum()) / 2
    torch.testing.assert_close(network(function, query)[0, 0], expected, rtol=0, atol=1e-12)


def test_a_deeponet_is_its_sum_of_products():
    network = DeepOnet((4, 3), 1, 6, 2, 5).double()
    first, second = torch.randn(1, 4).double(), torch.randn(1, 3).double()
    query = torch.randn(1, 1, 1).double()
    product = network.branches[0](first) * network.branches[1](second) * network.trunk(query)[:, 0]
    expected = product.sum() + network.bias[0]
    field = network(first, second, query)
    torch.testing.assert_close(field[0, 0], expected, rtol=0, atol=1e-12)
