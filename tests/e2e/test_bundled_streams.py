"""Bundled models that advance in time, frame by frame through a fleet, as their users meet them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certisolve import Client
from certisolve_server.artifacts import golden_cases, scan
from certisolve_server.jobs import Artifact
from fleet import Fleet, run_fleet

pytestmark = pytest.mark.slow

ARTIFACTS = Path(__file__).parents[2] / "models" / "artifacts"
#: What is asked of each: beyond the history, into the memory, at any times.
ASKED: dict[str, dict[str, Any]] = {
    "ks1d-memno": {"steps": 9, "save_every": 2},
    "ns2d-fno": {"steps": 4},
    "vanderpol-node": {"t": [0.05, 0.3, 1.0]},
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if not ARTIFACTS.is_dir():
        pytest.fail("models/artifacts is missing: run `make models`")
    directory = tmp_path_factory.mktemp("bundled") / "fleet"
    with run_fleet(ARTIFACTS, directory, worker_options=("--load", ",".join(ASKED))) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def artifacts() -> dict[str, Artifact]:
    return {each.manifest.name: each for each in scan(ARTIFACTS).artifacts}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("model", ASKED)
def test_a_bundled_model_is_streamed_as_it_is_solved(
    fleet: Fleet, artifacts: dict[str, Artifact], model: str, scheme: str
) -> None:
    manifest = artifacts[model].manifest
    row = {name: rows[0] for name, rows in next(golden_cases(artifacts[model])).inputs.items()}
    inputs = {spec.name: row.pop(spec.name) for spec in manifest.inputs}
    asked = ASKED[model] | {"parameters": {name: float(value) for name, value in row.items()}}
    url = fleet.gateway.http if scheme == "http" else fleet.gateway.grpc
    with Client(url) as client, client.stream(model, inputs, **asked) as frames:
        told = list(frames)
        streamed, solved = frames.solution(told), client.solve(model, inputs, **asked)
    assert [frame.t for frame in told] == solved.t.tolist() == streamed.t.tolist()
    assert [frame.num_frames for frame in told] == [len(told)] * len(told)
    for name, field in solved.fields.items():
        np.testing.assert_array_equal(streamed.fields[name], field)
    assert streamed.status == solved.status == "ok"
    assert streamed.diagnostics == solved.diagnostics
