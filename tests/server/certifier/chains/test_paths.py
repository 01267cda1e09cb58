"""Multipliers from norms of paths are feasible and prove what those norms do, or less."""

import pytest
import torch

from certisolve_server.certifier.chains import Chain, Slopes, verified_bound
from certisolve_server.certifier.chains.blocks import search_blocks
from certisolve_server.certifier.chains.eclipse import closed_form
from certisolve_server.certifier.chains.norms import liplt_bound
from certisolve_server.certifier.chains.normwise import normwise_bound
from certisolve_server.certifier.chains.paths import MOST_LAYERS, by_paths
from certisolve_server.certifier.chains.stages import stages
from certisolve_server.certifier.slices import finished
from chain_members import attained, plain, random, residual, slopes

# Norms are found within n^(1/32), and multipliers are a little inside of what is feasible.
ROOM = 1.2

CHAINS = {
    "relu": lambda: plain((3, 6, 5, 2), 0.0, 1.0),
    "sin": lambda: plain((4, 4, 4, 4, 1), -1.0, 1.0),
    "steep": lambda: plain((3, 5, 2), 0.5, 3.0),
    "residual": lambda: residual(4, 6, 2, 0.0, 1.0, seed=1),
    "residual of both signs": lambda: residual(4, 6, 3, -1.0, 1.0, seed=2),
}


def of_paths(chain: Chain) -> tuple[torch.Tensor, ...]:
    found = finished(by_paths(stages(chain), chain.centers[-1]))
    assert found is not None
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_they_prove_what_the_norms_do(name):
    chain = CHAINS[name]()
    proven = verified_bound(chain, of_paths(chain))
    assert attained(chain) <= proven <= float(liplt_bound(chain)) * ROOM


@pytest.mark.parametrize("name", CHAINS)
def test_the_closed_form_is_not_above_them(name):
    chain = CHAINS[name]()
    best = verified_bound(chain, closed_form(chain))
    assert best <= verified_bound(chain, of_paths(chain)) * (1 + 1e-9)


def of_blocks() -> Chain:
    """Factors of both signs between blocks that pass most on beside them, as of products."""
    wide = slopes(6, -3.0, 3.0)
    maps = [random(20, 6, 6, seed=k) for k in range(4)]
    skips = [torch.eye(6, dtype=torch.float64)] * 4
    return Chain.of([*maps, random(2, 6, seed=9)], [wide] * 4, skips, [0.1 * skips[0]] * 4)


def test_where_choices_layer_by_layer_are_far_off_the_search_begins_there():
    chain = of_blocks()
    first = normwise_bound(chain, closed_form(chain))
    assert first <= float(liplt_bound(chain)) * ROOM
    found = next(each for each in search_blocks(chain) if each is not None)
    assert normwise_bound(chain, found) < first


def test_a_layer_that_nothing_reaches_and_one_that_reaches_nothing_have_multipliers():
    maps = [random(4, 3, seed=0), torch.zeros(4, 4, dtype=torch.float64), random(2, 4, seed=1)]
    chain = Chain.of(maps, [slopes(4, 0.0, 1.0)] * 2)
    assert all(bool((own > 0).all()) for own in of_paths(chain))
    assert verified_bound(chain, of_paths(chain)) < 1e-6


def test_numbers_without_bound_and_many_layers_have_none():
    large = Chain.of([random(3, 3, seed=0) * 1e200] * 3, [slopes(3, 0.0, 1.0)] * 2)
    assert finished(by_paths(stages(large), large.centers[-1])) is None
    deep = MOST_LAYERS + 1
    chain = Chain.of(
        [random(2, 2, seed=k) for k in range(deep + 1)],
        [Slopes(torch.zeros(2).double(), torch.ones(2).double())] * deep,
    )
    assert finished(by_paths(stages(chain), chain.centers[-1])) is None
