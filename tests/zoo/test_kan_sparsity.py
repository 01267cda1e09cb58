import pytest
import torch

from certisolve_zoo.kan.network import Kan
from certisolve_zoo.kan.sparsity import edge_strengths, penalty, pruned
from certisolve_zoo.kan.training import lattice


@pytest.fixture
def cover():
    return tuple(variable[:, ::13] for variable in lattice(2))


def _faded(network, hidden):
    """All edges to and from these hidden sums nearly constant, at values of their own."""
    first, last = network.edges()
    with torch.no_grad():
        for node in hidden:
            for layer, edge in ((first, (slice(None), slice(None), node)), (last, node)):
                layer.coefficients[edge] = 0.1 * node + 1e-3 * torch.randn_like(
                    layer.coefficients[edge]
                )
            first.base[:, node] = 0
            last.base[node] = 0
    return network


def test_hidden_sums_without_strong_edges_are_pruned_and_their_constants_kept(cover):
    network = _faded(Kan((2, 5, 1), 4).double(), hidden=(0, 2, 3))
    smaller = pruned(network, cover, threshold=0.05)
    assert smaller.widths == (2, 2, 1)
    # What is lost varies by some 1e-3, through three edges.
    torch.testing.assert_close(smaller(*cover), network(*cover), rtol=0, atol=1e-2)


def test_pruning_without_a_threshold_keeps_the_network(cover):
    network = Kan((2, 3, 2, 1), 4).double()
    same = pruned(network, cover, threshold=0.0)
    assert same.widths == network.widths
    torch.testing.assert_close(same(*cover), network(*cover), rtol=0, atol=1e-12)


def test_edges_add_up_to_what_their_layer_returns():
    layer = Kan((3, 4, 1), 6).double().edges()[0]
    x = 2 * torch.rand(50, 3).double() - 1
    torch.testing.assert_close(layer.edge_values(x).sum(dim=1), layer(x), rtol=0, atol=1e-13)


def test_constants_have_no_strength(cover):
    network = Kan((2, 3, 1), 4).double()
    before = edge_strengths(network, cover)[0]
    with torch.no_grad():
        network.edges()[0].coefficients += 7.0
    torch.testing.assert_close(edge_strengths(network, cover)[0], before, rtol=0, atol=1e-12)


def test_the_penalty_prefers_few_edges_at_equal_strength():
    shared, alone = torch.full((4, 1), 0.25), torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    assert float(penalty([alone])) == pytest.approx(1.0, abs=1e-6)
    assert float(penalty([shared])) > float(penalty([alone])) + 1
