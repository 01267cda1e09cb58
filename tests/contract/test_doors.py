"""The same cases through every door of the SDK, to a real server."""

import asyncio

import numpy as np
import pytest

from certisolve import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RequestTimeout,
)
from certisolve_server.bench import LocalServer
from doors import DOORS, models_async, models_sync, solve_through

FIELD = np.linspace(0, 1, 16, dtype=np.float32)

every_door = pytest.mark.parametrize("door", DOORS)


@every_door
def test_a_solution_is_complete(door: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "double", [{"u0": FIELD}])
    np.testing.assert_array_equal(solution.fields["u"], 2 * FIELD)
    np.testing.assert_array_equal(solution.coords["x"], np.arange(16) / 16)
    assert solution.fields["u"].dtype == np.float32
    assert (solution.status, solution.batch_size) == ("ok", 1)
    assert list(solution.t) == [1.0]
    assert solution.diagnostics is not None
    assert solution.diagnostics.in_validated_range
    assert solution.diagnostics.expected_error == 0.01
    assert solution.timings_ms.compute > 0
    assert (solution.model.name, solution.model.version) == ("double", "1")


@every_door
def test_resampling_is_flagged(door: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "resampling", [{"u0": np.zeros(20, np.float32)}])
    assert solution.diagnostics is not None
    assert solution.diagnostics.resampled_from == {"x": 20}
    assert not solution.diagnostics.in_validated_range
    assert solution.diagnostics.expected_error is None
    assert solution.fields["u"].shape == (20,)


@every_door
def test_parameters_reach_the_model(door: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "scale", [{"u0": FIELD}], parameters={"gain": 5.0})
    np.testing.assert_array_equal(solution.fields["u"], 5 * FIELD)


@every_door
def test_diagnostics_can_be_left_out(door: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "double", [{"u0": FIELD}], diagnostics=False)
    assert solution.diagnostics is None


@every_door
def test_a_dataset_has_the_axes_of_the_manifest(door: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "double", [{"u0": FIELD}])
    dataset = solution.to_xarray()
    assert dataset["u"].dims == ("x",)
    np.testing.assert_array_equal(dataset["x"], np.arange(16) / 16)


@every_door
@pytest.mark.parametrize(
    ("model", "size", "error", "code"),
    [
        ("nope", 16, NotFound, "unknown_model"),
        ("double", 17, InvalidRequest, "unvalidated_resolution"),
        ("double", 300_000, PayloadTooLarge, "body_too_large"),
    ],
)
def test_errors_carry_the_same_code(
    door: str, server: LocalServer, model: str, size: int, error: type[Exception], code: str
) -> None:
    with pytest.raises(error) as raised:
        solve_through(door, server, model, [{"u0": np.zeros(size, np.float32)}])
    assert raised.value.code == code


@every_door
def test_a_timeout_is_kept(door: str, server: LocalServer) -> None:
    with pytest.raises((DeadlineExceeded, RequestTimeout)):
        solve_through(door, server, "slow", [{"u0": FIELD}], timeout=0.05)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("list_models", [models_sync, models_async])
def test_models_are_listed_with_their_manifests(scheme, list_models, server: LocalServer) -> None:
    models = {info.name: info for info in list_models(server.url(scheme))}
    assert models.keys() == {"double", "log", "product", "resampling", "scale", "slow"}
    assert all(info.ready for info in models.values())
    assert models["scale"].manifest.parameters[0].maximum == 9.0


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_jobs_are_awaited_and_cancelled(scheme: str, server: LocalServer) -> None:
    with Client(server.url(scheme)) as client:
        first = client.submit_solve("slow", {"u0": FIELD})
        second = client.submit_solve("slow", {"u0": np.zeros(32, np.float32)})
        second.cancel()
        np.testing.assert_array_equal(first.wait().fields["u"], FIELD)
        assert first.status() == "succeeded"
        assert second.status() == "cancelled"
        np.testing.assert_array_equal(client.job(first.id).wait().fields["u"], FIELD)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_async_jobs_are_awaited(scheme: str, server: LocalServer) -> None:
    async def solve() -> np.ndarray:
        async with AsyncClient(server.url(scheme)) as client:
            job = await client.submit_solve("slow", {"u0": FIELD})
            return (await job.wait()).fields["u"]

    np.testing.assert_array_equal(asyncio.run(solve()), FIELD)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_job_is_followed_to_its_end(scheme: str, server: LocalServer) -> None:
    with Client(server.url(scheme)) as client:
        jobs = [client.submit_solve("slow", {"u0": FIELD}) for _ in range(2)]
        told = list(jobs[-1].events())
    assert told[0].status in ("queued", "running")
    assert (told[-1].status, told[-1].progress) == ("succeeded", 1.0)
    positions = [info.position for info in told if info.position is not None]
    assert positions == sorted(positions, reverse=True)


@every_door
def test_a_key_is_one_run_whoever_asks(door: str, server: LocalServer) -> None:
    key = f"one-run-{door}"
    first, again = solve_through(door, server, "double", [{"u0": FIELD}] * 2, idempotency_key=key)
    assert first.timings_ms == again.timings_ms  # of the same run
    with pytest.raises(IdempotencyConflict):
        solve_through(door, server, "double", [{"u0": FIELD + 1}], idempotency_key=key)


@every_door
@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_every_priority_is_served(door: str, priority: str, server: LocalServer) -> None:
    [solution] = solve_through(door, server, "double", [{"u0": FIELD}], priority=priority)
    np.testing.assert_array_equal(solution.fields["u"], 2 * FIELD)
