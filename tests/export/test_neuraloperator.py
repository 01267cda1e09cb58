"""Networks of the package neuraloperator: a dynamic batch and grid, through to a served answer.

The package fixes both when torch.export traces it by itself; should that ever end, the first test
says so.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.export import Dim

from certisolve import Client
from certisolve_export import build_module, export
from certisolve_server.artifacts import is_aten_operator, read_artifact
from certisolve_server.bench import local_server
from certisolve_server.engines import load_engine, open_device

EXAMPLE = Path(__file__).parents[2] / "examples" / "export" / "neuralop_fno.py"

with warnings.catch_warnings():
    # Not ours to mend: what the package and tensorly import.
    warnings.simplefilter("ignore")
    pytest.importorskip(
        "neuralop",
        reason="neuraloperator is not installed: `make setup` does it",
        exc_type=ImportError,
    )

# The package's own: tensorly's transition, complex weights, attributes that tracing assigns.
pytestmark = pytest.mark.filterwarnings("ignore")

NETWORKS = {
    "dense": {},
    "tucker": {"factorization": "tucker", "rank": 0.4, "implementation": "factorized"},
}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_torch_alone_fixes_the_batch():
    network = operator().network
    with pytest.raises(RuntimeError, match="specialized it to be a constant"):
        torch.export.export(
            network, (torch.rand(3, 1, 16, 16),), dynamic_shapes=({0: Dim.DYNAMIC},)
        )


def operator(**options):
    """The network of the example, with a layer less to trace."""
    torch.manual_seed(0)
    return type(build_module(f"{EXAMPLE}:build"))(n_layers=1, **options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_batch_and_grid_is_served_as_the_package_computes_it(name, tmp_path):
    network = operator(**NETWORKS[name])
    exported = export(
        network,
        EXAMPLE.with_suffix(".json"),
        tmp_path,
        unmeasured=True,
        is_listed=is_aten_operator,
    )
    engine = load_engine(read_artifact(exported.folder), open_device("cpu")).engine
    for batch_size, num_points in ((1, 24), (3, 20), (8, 16)):
        a = 3 + 9 * torch.rand(batch_size, num_points, num_points)
        step = engine.launch([list(a.numpy())]).wait()
        actual = np.stack([step.row(index)[0] for index in range(batch_size)])
        with torch.inference_mode():
            expected = network(a).numpy()
        # Roundings of float32, in another order of contractions.
        assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected)
    if name == "dense":
        _answers_over_http(tmp_path, a[0].numpy(), expected[0])


def _answers_over_http(repository, a, expected):
    with local_server(repository) as server, Client(server.http) as client:
        solution = client.solve("my-darcy-fno", {"a": a})
    assert solution.batch_size == 1
    assert np.linalg.norm(solution.fields["u"] - expected) <= 1e-5 * np.linalg.norm(expected)
    assert solution.diagnostics.expected_error is None
    assert not solution.diagnostics.in_validated_range
