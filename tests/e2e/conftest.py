"""Models for fleets: exact, quick to load, and as slow as a request is large."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from certisolve.manifest import Axis, Manifest, Stepping, TensorSpec, ValidatedResolution
from helpers import Pointwise, field_manifest, parameter, write_artifact

_MAX_POINTS = 1 << 22


@pytest.fixture
def report(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """Says what was measured, also when the test passes."""
    terminal = request.config.pluginmanager.getplugin("terminalreporter")

    def say(text: str) -> None:
        with capsys.disabled():
            terminal.write_line(f"\n{text}")

    return say


@pytest.fixture(scope="session")
def fleet_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`double` and `scale` on 16 or 32 points; `work` and `heavy` on any number.

    `work` leaves its points as they are, after arithmetic that grows with the cube of their number:
    how long a request keeps a worker busy is for the request to say. `heavy` doubles them, after a
    fraction of a second for a megabyte.
    """
    root = tmp_path_factory.mktemp("fleet-models")
    write_artifact(root, Pointwise(lambda u: 2 * u), field_manifest("double"))
    write_artifact(
        root,
        Pointwise(lambda u, gain: u * gain[:, None]),
        field_manifest("scale", parameters=(parameter("gain", 0.0, 9.0, 3.0),)),
    )
    write_artifact(root, Pointwise(_double_slowly), _points_manifest("heavy"))
    write_artifact(root, Pointwise(_work), _points_manifest("work", max_batch_size=4))
    return root


@pytest.fixture(scope="session")
def counting_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`count`, which adds one in each of its steps; a step takes about a millisecond."""
    root = tmp_path_factory.mktemp("counting-models")
    write_artifact(root, Pointwise(_count), _count_manifest(), answer=lambda u: _count(u)[:, None])
    return root


def _work(u: torch.Tensor) -> torch.Tensor:
    return u * _one(u.shape[1])


def _double_slowly(u: torch.Tensor) -> torch.Tensor:
    return 2 * u * _one(u.shape[1] // 200 + 1)


def _count(u: torch.Tensor) -> torch.Tensor:
    return u + _one(200)


def _one(size: int) -> torch.Tensor:
    """1, the hard way."""
    matrix = torch.eye(size)
    for _ in range(4):
        matrix = matrix @ matrix
    return matrix[0, 0]


def _count_manifest() -> Manifest:
    field = TensorSpec(name="u", dtype="F32", axes=("x",), description="field")
    return field_manifest(
        "count",
        family="rollout",
        inputs=(field,),
        outputs=(field,),
        stepping=Stepping(dt=1.0, max_steps=4096),
    )


def _points_manifest(name: str, **changes: object):
    def spec(name: str) -> TensorSpec:
        return TensorSpec(name=name, dtype="F32", axes=("points",), description=name)

    whole = ValidatedResolution(
        sizes={}, error=1e-3, worst_error=2e-3, metric="rmse", num_samples=10
    )
    return field_manifest(
        name,
        axes={"points": Axis(kind="points", minimum=1, maximum=_MAX_POINTS)},
        inputs=(spec("u0"),),
        outputs=(spec("u"),),
        resolutions=(whole,),
        t=(),
        **changes,
    )
