"""Operators that are read as others are the same maps, and as programs where that is said."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from all_bounds import assert_sound
from certisolve_server.certifier.domain import box
from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.graph.definitions import DEFINITIONS
from certisolve_server.certifier.methods.mean_value import enclose
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball
from certisolve_server.certifier.rounding_radius import executed, rounding_radius
from enclosed import assert_encloses
from slow_ones import mostly_slow
from small_networks import Applied, exported

pytestmark = [
    # torch, of modules of its own.
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
]


class First(nn.Module):
    """The first result of a module that has several."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


class Attending(nn.Module):
    """Attention of keys and values made from its queries, with a mask that is added."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mask", torch.tensor([[0.0, -1.0], [0.5, 0.0]]))

    def forward(self, x):
        x = x.view(1, 2, 3)
        return functional.scaled_dot_product_attention(
            x, x.flip(1), 2.0 * x, attn_mask=self.mask, scale=self.scale
        )


class Bent(nn.Module):
    """Bilinear in the input and its reverse."""

    def __init__(self) -> None:
        super().__init__()
        self.form = nn.Bilinear(6, 6, 2)

    def forward(self, x):
        return self.form(x, x.flip(1))


def apart(x):
    return x + torch.tensor([9.0, 0.0, -9.0]).to(x).repeat(2)


def written_then_normalised(x):
    y = x.clone()
    y[:, 1:3].mul_(3.0)
    mean, spread = torch.linspace(-1, 1, 3).to(x), torch.linspace(1, 2, 3).to(x)
    return functional.batch_norm(y.view(1, 3, 2), mean, spread, mean + 2, spread - 1)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make()


#: As modules, of 6 numbers seen as (1, *shape).
OPERATORS = {
    "same": (lambda: nn.Conv1d(2, 2, 3, padding="same"), (1, 2, 3)),
    "same, even, dilated": (
        lambda: nn.Conv2d(1, 2, (2, 1), padding="same", dilation=3),
        (1, 1, 6, 1),
    ),
    "valid": (lambda: nn.Conv3d(1, 1, (1, 2, 2), padding="valid"), (1, 1, 1, 2, 3)),
    "shuffled": (lambda: nn.PixelShuffle(2), (1, 4, 1, 2)),
    "unshuffled": (lambda: nn.PixelUnshuffle(2), (1, 1, 2, 4)),
    "attention": (Attending, (1, 6)),
    "scaled attention": (lambda: Attending(0.3), (1, 6)),
    "transformer": (lambda: nn.TransformerEncoderLayer(2, 1, 3, batch_first=True), (1, 3, 2)),
    "gated": (nn.GLU, (1, 6)),
    "bilinear": (Bent, (1, 6)),
    "root mean square": (lambda: nn.RMSNorm(6, eps=0.1), (1, 6)),
    "instance": (lambda: nn.InstanceNorm1d(2, eps=0.1, affine=True), (1, 2, 3)),
    "instance, given": (lambda: nn.InstanceNorm1d(2, track_running_stats=True), (1, 2, 3)),
    "batch norm": (lambda: Applied(written_then_normalised), (1, 6)),
    "variance": (lambda: Applied(lambda x: x.view(2, 3).var(1)), (1, 6)),
    "variance, corrected": (lambda: Applied(lambda x: torch.var(x, correction=0)), (1, 6)),
    "deviation": (lambda: Applied(lambda x: apart(x).std(-1)), (1, 6)),
    "deviation, corrected": (lambda: Applied(lambda x: torch.std(apart(x), correction=0)), (1, 6)),
    "at least": (
        lambda: Applied(lambda x: torch.clamp_min(x, 0.2) * torch.clamp_max(x, 0.4)),
        (1, 6),
    ),
    "expanded": (lambda: Applied(lambda x: x[:, :1].expand_as(x) * x), (1, 6)),
    "norm": (lambda: Applied(lambda x: x.view(2, 3).norm(dim=0) * x[:, :3]), (1, 6)),
    "norm of all": (
        lambda: Applied(lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
        (1, 6),
    ),
    "normalised": (lambda: Applied(lambda x: functional.normalize(x, eps=0.5)), (1, 6)),
    "sizes of a spectrum": (lambda: Applied(lambda x: torch.fft.rfft(x).abs()), (1, 6)),
    "lstm": (lambda: First(nn.LSTM(2, 2, batch_first=True)), (1, 3, 2)),
    "gru": (lambda: First(nn.GRU(2, 2, batch_first=True, bidirectional=True)), (1, 3, 2)),
    "rectified": (lambda: First(nn.RNN(2, 2, nonlinearity="relu", batch_first=True)), (1, 3, 2)),
    "recurrent": (lambda: First(nn.RNN(2, 2, num_layers=2, batch_first=True)), (1, 3, 2)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_values_slopes_and_differences_lie_inside(name):
    make, shape = OPERATORS[name]
    assert_encloses(exported(seeded(make), shape), shape)


@pytest.mark.parametrize("name", mostly_slow(["transformer", "lstm", "norm", "same"], {"norm"}))
@pytest.mark.parametrize("norms", [Norms("l2", "l2"), Norms("linf", "l1")])
def test_nothing_refutes_any_method(name, norms):
    make, shape = OPERATORS[name]
    graph = prepare(exported(seeded(make), shape), {"x": shape})
    center = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(shape)
    for radius in (0.05, 2.0):
        bounds = assert_sound(Problem(graph, Ball({"x": center}, radius, "linf"), norms), 50)
        assert bounds["mean_value"] < math.inf


def test_every_definition_is_looked_at():
    aten = torch.ops.aten
    # What others, and writes into parts of tensors, are traced to.
    used = {aten._unsafe_view.default, aten._native_batch_norm_legit_no_training.default}
    for make, shape in OPERATORS.values():
        used |= {node.target for node in exported(seeded(make), shape).graph.nodes}
    assert {str(each) for each in DEFINITIONS.keys() - used} == set()


@pytest.mark.parametrize("how", [{"is_causal": True}, {"dropout_p": 0.5}])
def test_what_is_not_of_a_definition_is_refused_by_its_name(how):
    def attend(x):
        x = x.view(1, 2, 3)
        return functional.scaled_dot_product_attention(x, x, x, **how)

    with pytest.raises(UnsupportedOperator, match=r"aten\.scaled_dot_product_attention"):
        prepare(exported(Applied(attend), (1, 6)), {"x": (1, 6)})


def drops(x):
    given = [torch.ones(2, 6), torch.ones(2, 2), torch.ones(2), torch.ones(2)]
    further = [torch.ones(2, 2), torch.ones(2, 2), torch.ones(2), torch.ones(2)]
    state = torch.zeros(2, 1, 2)
    return torch.rnn_tanh(x[None], state, [*given, *further], True, 2, 0.5, True, False, True)[0]


def remembers(x):
    mean, spread = torch.zeros(2), torch.ones(2)
    y = functional.instance_norm(x.view(1, 2, 3), mean, spread, use_input_stats=True)
    return y * mean[:, None]


@pytest.mark.parametrize(
    ("operator", "function"),
    [
        ("rnn_tanh", drops),
        ("instance_norm", remembers),
        ("rms_norm", lambda x: functional.rms_norm(x.half(), (6,)).float()),
    ],
)
def test_what_torch_does_beside_a_definition_is_refused(operator, function):
    with pytest.raises(UnsupportedOperator, match=operator):
        prepare(exported(Applied(function), (1, 6)), {"x": (1, 6)})


def test_a_variance_of_too_few_numbers_is_refused():
    program = exported(Applied(lambda x: torch.var(x, 1, correction=7)), (1, 6))
    graph = prepare(program, {"x": (1, 6)})
    x = torch.linspace(0, 1, 6, dtype=torch.float64)[None]
    with pytest.raises(NotCertified, match="divisors may be 0"):
        enclose(graph, box(graph, {"x": x}, {"x": x}))


@pytest.mark.parametrize("name", ["attention", "lstm", "root mean square", "bilinear"])
def test_what_rounds_elsewhere_has_no_radius(name):
    make, shape = OPERATORS[name]
    graph = executed(exported(seeded(make), shape), {"x": shape})
    ball = Ball({"x": torch.zeros(shape, dtype=torch.float64)}, 0.1, "linf")
    with pytest.raises(UnsupportedOperator, match="no rule of rounding"):
        rounding_radius(graph, ball, Norms("l2", "l2"))


def test_the_root_in_attention_is_enclosed():
    """Of 6 numbers there is no float of 1 / sqrt(6)."""

    def attend(x):
        x = x.view(1, 1, 6)
        return functional.scaled_dot_product_attention(x, x, x)

    graph = prepare(exported(Applied(attend), (1, 6)), {"x": (1, 6)})
    root = 6**-0.5
    roots = [
        each.value
        for each in graph.constants.values()
        if each.value.shape.numel() == 1 and abs(float(each.value.upper) - root) < 1e-9
    ]
    assert [bool(each.is_exact) for each in roots] == [False]
