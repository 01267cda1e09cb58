"""Frames reach their reader once each and in order, whoever dies while they are computed."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from certisolve import Client
from certisolve.manifest import Stepping, TensorSpec, ValidatedResolution
from fleet import Fleet, poll_until, run_fleet
from helpers import Pointwise, field_manifest, write_artifact

pytestmark = pytest.mark.slow

DT = 0.25
NUM_STEPS = 400
#: Frames that go through Redis, and frames that go beside it.
SIZES = {"small": 16, "large": 32_768}
# Makes a step take about a millisecond, so that the worst comes while there is something to lose.
_MATRIX = 400


def _count(u: torch.Tensor) -> torch.Tensor:
    """One step: u + 1, the hard way."""
    matrix = torch.eye(_MATRIX)
    return u + (matrix @ matrix)[0, 0]


def _write_counter(root: Path) -> None:
    field = TensorSpec(name="u", dtype="F32", axes=("x",), description="a count")
    manifest = field_manifest(
        "counter",
        family="rollout",
        inputs=(field,),
        outputs=(field,),
        stepping=Stepping(dt=DT, max_steps=NUM_STEPS),
        t=(DT, 2 * DT),
        resolutions=tuple(
            ValidatedResolution(
                sizes={"x": size}, error=1e-3, worst_error=2e-3, metric="rmse", num_samples=10
            )
            for size in SIZES.values()
        ),
    )
    write_artifact(
        root,
        Pointwise(_count),
        manifest,
        answer=lambda u: torch.stack((u + 1, u + 2), dim=1),
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    models = tmp_path_factory.mktemp("counter")
    _write_counter(models)
    directory = tmp_path_factory.mktemp("frames") / "fleet"
    with run_fleet(models, directory, workers=2, options=("--lease-s", "1")) as fleet:
        yield fleet


def _restart_redis(fleet: Fleet) -> None:
    fleet.redis.stop(signal.SIGKILL)
    fleet.redis.start()


def _kill_worker(fleet: Fleet) -> None:
    [name] = poll_until(lambda: set(fleet.holders().values()), "a worker to claim the job")
    next(worker for worker in fleet.workers if worker.name == name).kill()


# A worker takes seconds to start: only one of the two dies, and it stays dead.
@pytest.mark.parametrize(
    ("disaster", "size"),
    [(_restart_redis, "small"), (_restart_redis, "large"), (_kill_worker, "large")],
)
def test_a_stream_goes_on_as_if_nothing_had_happened(
    fleet: Fleet, disaster: Callable[[Fleet], None], size: str
) -> None:
    u = np.zeros(SIZES[size], np.float32)
    with (
        Client(fleet.gateway.http, timeout=60) as client,
        client.stream("counter", {"u": u}, steps=NUM_STEPS) as frames,
    ):
        seen = [next(frames), next(frames)]
        disaster(fleet)
        seen += frames
        summary = frames.summary
    assert [frame.step for frame in seen] == list(range(1, NUM_STEPS + 1))
    for frame in seen:
        assert frame.t == pytest.approx(frame.step * DT)
        assert np.array_equal(frame.fields["u"], np.full_like(u, frame.step))
    assert summary.status == "ok"
