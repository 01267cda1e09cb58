import io

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from certisolve_zoo.data import Samples, burgers_samples, darcy_samples, minibatches
from certisolve_zoo.pdes.darcy import sample_darcy
from certisolve_zoo.training import TrainingRun, fit, relative_l2


@pytest.fixture
def run(tmp_path):
    return TrainingRun("line", tmp_path, seed=0, console=Console(file=io.StringIO(), width=100))


@pytest.mark.parametrize(
    ("optimizer_of", "num_epochs"),
    [
        (lambda parameters: torch.optim.Adam(parameters, 0.1), 200),
        (lambda parameters: torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe"), 5),
    ],
    ids=["adam", "lbfgs"],
)
def test_one_loop_trains_with_every_optimizer(optimizer_of, num_epochs, run):
    model = nn.Linear(2, 1)
    x = torch.randn(64, 2)
    samples = Samples((x,), x @ torch.tensor([[2.0], [-1.0]]) + 0.5)
    optimizer = optimizer_of(model.parameters())
    epochs = ([samples] for _ in range(num_epochs))
    fit(model, optimizer, epochs, num_epochs=num_epochs, loss=functional.mse_loss, run=run)
    assert functional.mse_loss(model(x), samples.target).item() < 1e-5
    checkpoint = load_file(run.folder / "line.safetensors")
    torch.testing.assert_close(checkpoint["weight"], model.weight.detach())
    assert f"epoch={num_epochs}/{num_epochs} loss=" in run.console.file.getvalue()


def test_minibatches_visit_every_sample_once():
    batches = list(minibatches(12, 4, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(batches).tolist()) == list(range(12))


def test_the_relative_error_of_nothing_is_one():
    target = torch.randn(3, 4, 5)
    torch.testing.assert_close(relative_l2(torch.zeros_like(target), target), torch.ones(3))


def test_seeds_decide_the_samples():
    first, again, other = (burgers_samples(seed, 2, nu=0.01, t=1.0) for seed in (1, 1, 2))
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.target, other.target)


def test_a_longer_set_begins_with_the_shorter_and_is_cached(tmp_path):
    short = darcy_samples(3, 1, (5,), tmp_path)[43]
    long = darcy_samples(3, 2, (5,), tmp_path)[43]
    assert torch.equal(short.target, long.target[:1])
    assert len(list(tmp_path.iterdir())) == 2
    again = sample_darcy(3, (5,), 0)
    assert torch.equal(torch.from_numpy(again["u43"]), short.target[0])
