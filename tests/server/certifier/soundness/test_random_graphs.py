"""On random graphs, sets and norms: no pair and no witness is steeper than any method's bound."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from all_bounds import assert_sound
from certisolve_server.certifier.norms import NORMS, Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Box, Everything
from random_networks import networks
from small_networks import exported

INPUTS = 3
NUMBERS = st.floats(-2.0, 2.0, width=32)
POINTS = st.lists(NUMBERS, min_size=INPUTS, max_size=INPUTS)
WIDTHS = st.sampled_from([0.0, 1e-12, 1e-4, 0.1, 1.0, 6.0])


def point(numbers):
    return {"x": torch.tensor([numbers], dtype=torch.float64)}


@st.composite
def regions(draw):
    kind = draw(st.sampled_from(["box", "ball", "clipped", "everything"]))
    center = draw(POINTS)
    if kind == "everything":
        return Everything()
    widths = [draw(WIDTHS) for _ in range(INPUTS)]
    box = Box(
        point([c - w for c, w in zip(center, widths, strict=True)]),
        point([c + w for c, w in zip(center, widths, strict=True)]),
    )
    if kind == "box":
        return box
    limits = box if kind == "clipped" else None
    return Ball(point(center), draw(WIDTHS), draw(st.sampled_from(NORMS)), limits)


def judge(net, region, norms):
    graph = prepare(exported(net, (1, INPUTS)), {"x": (1, INPUTS)})
    assert_sound(Problem(graph, region, norms))


@settings(max_examples=6, deadline=None)
@given(
    net=networks(INPUTS),
    region=regions(),
    p=st.sampled_from(NORMS),
    q=st.sampled_from(NORMS),
)
def test_no_method_is_below_what_is_attained(net, region, p, q):
    judge(net, region, Norms(p, q))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1500, deadline=None)
@given(
    net=networks(INPUTS, most_layers=4),
    region=regions(),
    p=st.sampled_from(NORMS),
    q=st.sampled_from(NORMS),
)
def test_no_method_is_below_what_is_attained_at_length(net, region, p, q):
    judge(net, region, Norms(p, q))
