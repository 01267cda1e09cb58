"""What every test may rely on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from blockbuster import blockbuster_ctx

from certisolve.manifest import TensorSpec, ValidatedResolution
from certisolve_server.bench import LocalServer, local_server
from family_models import write_family_models
from helpers import POINTS, Pointwise, field_manifest, parameter, write_artifact


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of models that are exact, so that every answer is known."""
    root = tmp_path_factory.mktemp("models")
    double = Pointwise(lambda u: 2 * u)
    write_artifact(root, double, field_manifest("double"))
    write_artifact(root, double, field_manifest("resampling", unvalidated_resolution="resample"))
    write_artifact(
        root,
        Pointwise(lambda u, gain: u * gain[:, None]),
        field_manifest("scale", parameters=(parameter("gain", 0.0, 9.0, 3.0),)),
    )
    write_artifact(root, Pointwise(_work), field_manifest("slow"))
    write_artifact(root, Pointwise(torch.log), field_manifest("log"))
    write_artifact(root, Pointwise(lambda x, y: x * y), _points_manifest())
    return root


@pytest.fixture(scope="session")
def server(small_models: Path) -> Iterator[LocalServer]:
    """A running server of `small_models` that takes bodies up to 1 MiB."""
    with local_server(small_models, ["--max-body-bytes", str(1 << 20)]) as running:
        yield running


@pytest.fixture(scope="session")
def family_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one small model per family."""
    root = tmp_path_factory.mktemp("families")
    write_family_models(root)
    return root


@pytest.fixture(scope="session")
def family_server(family_models: Path) -> Iterator[LocalServer]:
    """A running server of `family_models` that takes bodies, and gives answers, up to 64 KiB."""
    with local_server(family_models, ["--max-body-bytes", str(1 << 16)]) as running:
        yield running


def _work(u: torch.Tensor) -> torch.Tensor:
    """About a fifth of a second of arithmetic that leaves u as it was."""
    matrix = torch.eye(1200)
    for _ in range(12):
        matrix = matrix @ matrix
    return u * matrix[0, 0]


def _points_manifest():
    def spec(name: str) -> TensorSpec:
        return TensorSpec(
            name=name, dtype="F32", axes=("points",), description=name, minimum=-1.0, maximum=1.0
        )

    whole = ValidatedResolution(
        sizes={}, error=1e-3, worst_error=2e-3, metric="rmse", num_samples=10
    )
    return field_manifest(
        "product",
        axes={"points": POINTS},
        inputs=(spec("x"), spec("y")),
        outputs=(TensorSpec(name="f", dtype="F32", axes=("points",), description="x y"),),
        resolutions=(whole,),
        t=(),
    )


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Any blocking call inside the event loop fails the test."""
    if request.node.get_closest_marker("anyio") is None:
        yield
        return
    with blockbuster_ctx("certisolve_server") as blockbuster:
        # A file system in memory waits for no disk.
        blockbuster.functions["os.unlink"].can_block_in("broker/redis/segments.py", {"_remove"})
        # The last channel of gRPC ends a thread, whenever the garbage collector finds it.
        lock = blockbuster.functions["threading.Lock.acquire"]
        lock.can_block_in("threading.py", {"_wait_for_tstate_lock"})
        yield
