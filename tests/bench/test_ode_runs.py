"""Integrations that are compared reach the same states, and their work is counted in full."""

import runpy
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
runs = runpy.run_path(str(BENCHMARKS / "ode_runs.py"))
NUM_SAMPLES = 7
T = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)


class Turning:
    """A rotation by a rate of its own for each sample, and how many rows were asked for."""

    def __init__(self):
        self.rows = 0

    def __call__(self, t, y, rate):
        del t
        self.rows += len(y)
        return rate[:, None] * torch.stack((y[:, 1], -y[:, 0]), dim=1)


def problem(field):
    rate = torch.linspace(1.0, 30.0, NUM_SAMPLES, dtype=torch.float64)
    y0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(NUM_SAMPLES, 2)
    return runs["Problem"](field, y0, rate, T, 1e-7, 1e-8)


@pytest.mark.parametrize("size", [1, 3, 7, 64])
@pytest.mark.parametrize("steps", ["own", "shared"])
def test_every_sample_arrives_and_every_row_is_counted(steps, size):
    field = Turning()
    asked = problem(field)
    if steps == "own":
        solved = runs["own_steps"](asked, size, switching=False)
    else:
        solved = runs["shared_steps"](asked, size)
    angle = asked.mu[:, None] * T
    exact = torch.stack((angle.cos(), -angle.sin()), dim=2)
    assert runs["errors"](solved, exact).max() < 1e-4
    assert solved.evaluations == field.rows


def test_a_jacobian_counts_as_its_directions():
    field = Turning()
    counted = runs["_Counted"](field)
    counted.of(torch.ones(3))(torch.zeros(3), torch.ones(3, 2))
    counted.add_jacobian(3, 2)
    assert counted.evaluations == 3 * (2 + 1)  # two components, and time
