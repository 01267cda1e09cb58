"""Derivatives through a gateway, Redis and a worker."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certisolve import Client, InvalidRequest
from fleet import Fleet, run_fleet

FIELD = np.linspace(1, 2, 16, dtype=np.float32)
#: Above what travels through Redis itself.
MANY_POINTS = 30_000


@pytest.fixture(scope="module")
def fleet(
    fleet_models: Path, counting_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("derivatives")
    for models in (fleet_models, counting_models):
        shutil.copytree(models, directory / "models", dirs_exist_ok=True)
    with run_fleet(directory / "models", directory / "fleet") as fleet:
        yield fleet


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_derivatives_travel_through_the_queue(fleet: Fleet, scheme: str) -> None:
    with Client(fleet.gateway.http if scheme == "http" else fleet.gateway.grpc) as client:
        forward = client.jvp(
            "scale",
            {"u0": FIELD},
            {"u0": [FIELD, 0 * FIELD]},
            parameter_tangents={"gain": [0.0, 1.0]},
            parameters={"gain": 4.0},
        )
        np.testing.assert_array_equal(forward.solution.fields["u"], 4 * FIELD)
        np.testing.assert_array_equal(forward.derivatives["u"], [4 * FIELD, FIELD])
        backward = client.vjp("scale", {"u0": FIELD}, {"u": FIELD}, parameters={"gain": 4.0})
        np.testing.assert_array_equal(backward.derivatives["u0"], 4 * FIELD)
        assert backward.parameter_derivatives["gain"] == pytest.approx(FIELD @ FIELD)
        steps = client.jvp("count", {"u": FIELD}, {"u": FIELD}, steps=20, save_every=10)
        np.testing.assert_allclose(steps.derivatives["u"], [FIELD, FIELD])
        with pytest.raises(InvalidRequest) as caught:
            client.jvp("scale", {"u0": FIELD}, {"u": FIELD})
        assert caught.value.field == "tangents.u"


def test_large_directions_travel_too(fleet: Fleet) -> None:
    rng = np.random.default_rng(1)
    points, directions = rng.normal(size=MANY_POINTS), rng.normal(size=(3, MANY_POINTS))
    with Client(fleet.gateway.http) as client:
        [spec] = client.model("heavy").manifest.inputs
        found = client.jvp("heavy", {spec.name: points}, {spec.name: directions})
    [derivative] = found.derivatives.values()
    np.testing.assert_array_equal(derivative, 2 * directions.astype(np.float32))
