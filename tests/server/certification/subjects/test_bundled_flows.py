"""Every bundled vector field gets a finite certificate of its flow, on a stated ball and time."""

import numpy as np
import pytest
import torch

from certisolve.manifest import Manifest
from certisolve_server.certification.request import BallDomain, CertifyRequest, GlobalDomain
from certisolve_server.certification.subjects import open_subject
from certisolve_server.certifier.execution import Execution
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.methods.tube import Tubes
from certisolve_server.certifier.problem import Flow
from small_networks import ARTIFACTS, bundled

#: Input, center, radius, time, and how much the bound may be above what is seen.
FLOWS = {
    "spiral-feedback": ("x", [[5.0, 3.0]], 0.1, 0.5, 1.1),
    "spiral-neural-feedback": ("x", [[5.0, 3.0]], 0.1, 0.5, 1.1),
    "projectile-feedback": ("x", [[1.0, 1.0, 1.0, 0.5, 0.2, 0.3]], 0.05, 0.5, 1.4),
    "projectile-neural-feedback": ("x", [[1.0, 1.0, 1.0, 0.5, 0.2, 0.3]], 0.05, 0.5, 1.4),
    "vanderpol-node": ("y", [1.0, 0.5], 0.01, 0.5, 1.5),
}


def subject(name, domain, t):
    manifest = Manifest.from_json((ARTIFACTS / name / "1" / "manifest.json").read_bytes())
    return open_subject(CertifyRequest(name, domain, t=t), manifest, bundled(name))


def of_kind(problem, kind):
    """The first bound of a kind."""
    for each in Tubes().run(problem, Board()):
        if each is not None and each.evidence["kind"] == kind:
            return each
    raise AssertionError(f"no bound by {kind}")


def ahead(problem, starts):
    """By many small steps of the classical method."""
    assert isinstance(problem.subject, Flow)
    steps, field = 100, Execution(problem.subject.field).function()
    x, h = torch.from_numpy(starts), problem.subject.duration / 100
    for _ in range(steps):
        k1 = field(x)
        k2 = field(x + h / 2 * k1)
        k3 = field(x + h / 2 * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(x + h * k3))
    return x.numpy()


def test_the_list_of_bundled_fields_is_complete():
    families = {
        path.parent.parent.name: Manifest.from_json(path.read_bytes()).family
        for path in ARTIFACTS.glob("*/*/manifest.json")
    }
    assert {name for name, family in families.items() if family.endswith("ode")} == set(FLOWS)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_of_bundled_models_are_bounded_on_a_ball(name):
    field, center, radius, duration, slack = FLOWS[name]
    problem = subject(name, BallDomain({field: np.array(center)}, radius, "l2"), duration).problem
    found = of_kind(problem, "tubes")

    generator = np.random.default_rng(0)
    directions = generator.standard_normal((400, np.size(center)))
    sizes = radius * generator.uniform(0, 1, (400, 1))
    starts = np.ravel(center) + sizes * directions / np.linalg.norm(
        directions, axis=1, keepdims=True
    )
    ends = ahead(problem, starts)
    ratios = np.linalg.norm(ends[::2] - ends[1::2], axis=1) / np.linalg.norm(
        starts[::2] - starts[1::2], axis=1
    )
    assert ratios.max() <= found.upper <= slack * ratios.max()
    assert Tubes().recheck(problem, found.evidence) <= found.upper


@pytest.mark.parametrize("name", FLOWS)
def test_flows_of_bundled_models_are_bounded_everywhere(name):
    problem = subject(name, GlobalDomain(), 0.1).problem
    found = of_kind(problem, "everywhere")

    generator = np.random.default_rng(1)
    size = problem.graph.inputs[0].shape[-1]
    starts = generator.uniform(-5, 5, (200, size))
    ends = ahead(problem, starts)
    ratios = np.linalg.norm(ends[::2] - ends[1::2], axis=1) / np.linalg.norm(
        starts[::2] - starts[1::2], axis=1
    )
    assert ratios.max() <= found.upper
    assert Tubes().recheck(problem, found.evidence) <= found.upper
