"""Sessions of every family, their jobs answered by plain loops."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from certisolve import wire
from certisolve_server.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    ForecastDiverged,
    InvalidOption,
    MalformedBody,
    MissingInput,
    NotFinite,
    OutOfRange,
    ServingError,
    UnknownInput,
    UnknownModel,
    UnknownSession,
    UnvalidatedResolution,
    WrongDtype,
    WrongShape,
)
from certisolve_server.jobs import Terms
from certisolve_server.sessions.interpolation import between
from certisolve_server.sessions.measurements import Observation
from certisolve_server.sessions.opening import OpenRequest, SessionDefaults, Wishes
from family_models import DT, PENDULUM, SIZE
from session_worker import LIMITS, corrected, open_loop, session_plane, turned

pytestmark = pytest.mark.anyio

RNG = np.random.default_rng(7)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)
FRAMES = RNG.uniform(0.1, 0.9, (6, SIZE)).astype(np.float32)
MEASURED = RNG.uniform(-1, 1, (5, 2)).astype(np.float32)


def opening(model, inputs, **options) -> OpenRequest:
    wishes = {name: options.pop(name) for name in tuple(options) if name in Wishes.__slots__}
    return OpenRequest(model, None, inputs, wishes=Wishes(**wishes), **options)


def seen(t, masks=None, untyped=frozenset(), **values) -> Observation:
    times = (t,) if isinstance(t, float) else tuple(t)
    values = {
        name: np.reshape(v, (len(times), *np.shape(v)[np.ndim(t) :])) for name, v in values.items()
    }
    masks = {name: np.reshape(m, values[name].shape) for name, m in (masks or {}).items()}
    return Observation(times, values, masks, untyped)


DRIFT = {"w": FIELD, "f": FORCING}


def drifted(w: np.ndarray, num_steps: int, rate: float = 0.5) -> np.ndarray:
    for _ in range(num_steps):
        w = np.float32(rate) * w + FORCING
    return w


# --- Models that advance --------------------------------------------------------------------------


async def test_a_forecast_starts_from_the_session_and_leaves_it_alone() -> None:
    async with session_plane() as (plane, served):
        info = await plane.open(opening("drift", DRIFT, t=5.0, parameters={"rate": 0.25}))
        assert (info.t, info.sequence, info.gain, info.noise_gain) == (5.0, 0, None, None)
        assert info.state_bytes == FIELD.nbytes + FORCING.nbytes
        assert not served
        forecast = await plane.predict(info.id, [5.1, 5.3])
        assert forecast.t == (5.1, 5.3)
        assert forecast.axes["w"] == ("t", "x")
        np.testing.assert_array_equal(forecast.fields["w"][1], drifted(FIELD, 3, 0.25))
        assert await plane.get(info.id) == info


async def test_what_is_measured_replaces_the_forecast_and_the_rest_is_kept() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        mask = np.arange(SIZE) % 3 == 0
        with_gaps = np.where(mask, 7.0, np.nan).astype(np.float32)
        after = await plane.observe(info.id, seen(0.2, {"w": mask}, w=with_gaps))
        assert (after.t, after.sequence) == (0.2, 1)
        known = np.where(mask, np.float32(7), drifted(FIELD, 2))
        forecast = await plane.predict(info.id, [0.3])
        np.testing.assert_array_equal(forecast.fields["w"][0], drifted(known, 1))


async def test_measurements_at_each_step_are_a_history() -> None:
    async with session_plane() as (plane, _):
        whole = await plane.open(opening("recall", {"u": FRAMES}, t=0.5))
        built = await plane.open(opening("recall", {"u": FRAMES[0]}))
        times = [0.1, 0.2, 0.3, 0.4, 0.5]
        await plane.observe(built.id, seen(times[:2], u=FRAMES[1:3]))
        info = await plane.observe(built.id, seen(times[2:], u=FRAMES[3:]))
        assert (info.t, info.sequence) == (0.5, 2)
        one, other = [await plane.predict(each.id, [0.7]) for each in (whole, built)]
        np.testing.assert_allclose(one.fields["u"], other.fields["u"], rtol=1e-6)
        np.testing.assert_array_equal(one.fields["passes"], other.fields["passes"])


async def test_a_memory_goes_on_from_call_to_call() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("recall", {"u": FRAMES[:3]}))
        direct = await plane.predict(info.id, [0.1, 0.2, 0.3, 0.4, 0.5])
        nothing = np.zeros(SIZE, bool)
        await plane.observe(info.id, seen(0.3, {"u": nothing}, u=np.full(SIZE, np.nan, np.float32)))
        later = await plane.predict(info.id, [0.4, 0.5])
        np.testing.assert_allclose(later.fields["u"], direct.fields["u"][3:], rtol=1e-6)
        np.testing.assert_array_equal(later.fields["passes"], direct.fields["passes"][3:])


async def test_an_integration_takes_any_times() -> None:
    async with session_plane() as (plane, _):
        request = opening("rotation", {"y": MEASURED[0]}, parameters={"rate": 3.0})
        info = await plane.open(request)
        await plane.observe(
            info.id, seen(0.123, {"y": [False, True]}, y=np.array([np.nan, 0.5], np.float32))
        )
        forecast = await plane.predict(info.id, [0.2, 0.777])
        start = np.array([turned(MEASURED[0], 3 * 0.123)[0], 0.5], np.float32)
        np.testing.assert_allclose(forecast.fields["y"][1], turned(start, 3 * 0.654), rtol=1e-5)
        assert forecast.t == (0.2, 0.777)
        assert forecast.diagnostics.expected_error is None
        later = await plane.predict(info.id, [2.1])
        assert later.diagnostics.out_of_range == ("horizon",)
        with pytest.raises(OutOfRange):
            await plane.predict(info.id, [9.0])


async def test_errors_are_told_as_far_as_the_state_was_given_whole() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))

        async def told(time):
            diagnostics = (await plane.predict(info.id, [time])).diagnostics
            return diagnostics.expected_error, diagnostics.out_of_range

        assert await told(0.1) == (0.01, ())
        assert await told(0.9) == (None, ("horizon",))
        await plane.observe(info.id, seen(0.2, w=FIELD))
        assert await told(0.3) == (0.01, ())
        assert await told(1.0) == (0.05, ())
        # A part of it: what the model alone would be off by says nothing any more.
        mask = np.arange(SIZE) < 4
        await plane.observe(info.id, seen(0.4, {"w": mask}, w=FIELD))
        assert await told(0.5) == (None, ())
        assert await told(1.1) == (None, ("horizon",))


async def test_what_diverges_leaves_the_session_where_it_stood() -> None:
    async with session_plane() as (plane, _):
        huge = np.full(SIZE, 3e38, np.float32)
        info = await plane.open(
            opening("drift", {"w": huge, "f": FORCING}, parameters={"rate": 2.0})
        )
        with pytest.raises(ForecastDiverged) as raised:
            await plane.observe(info.id, seen(0.1, {"w": FIELD > 0.5}, w=FIELD))
        assert "t = 0.1" in raised.value.detail
        assert await plane.get(info.id) == info


# --- Feedback -------------------------------------------------------------------------------------


async def test_measurements_move_layers_and_observers() -> None:
    async with session_plane() as (plane, served):
        info = await plane.open(opening("pendulum", {"x": MEASURED[0]}, gain=0.5, horizon_steps=6))
        layers, observers = open_loop(MEASURED[0], 6)
        times = [0.1, 0.17, 0.4]
        await plane.observe(info.id, seen(times[:1], x=MEASURED[1:2]))
        info = await plane.observe(info.id, seen(times[1:], x=MEASURED[2:4]))
        before = 0.0
        for time, measured in zip(times, MEASURED[1:4], strict=True):
            layers, observers = corrected(layers, observers, measured, time - before, 0.5)
            before = time
        jobs = len(served)
        forecast = await plane.predict(info.id, [0.5, 0.666, 1.0])
        assert len(served) == jobs  # it is read, not computed
        expected = between(layers, DT, [0.1, 0.266, 0.6])
        np.testing.assert_allclose(forecast.fields["x"], expected, rtol=1e-5, atol=1e-6)
        assert forecast.diagnostics.noise_gain == pytest.approx(info.noise_gain)
        assert info.noise_gain == pytest.approx(
            np.prod([1 + DT * 0.5 * 4 * np.exp(-PENDULUM.decay * i) for i in range(6)])
        )
        assert (info.gain, forecast.diagnostics.expected_error) == (0.5, None)
        assert info.state_bytes == MEASURED[0].nbytes * (1 + 7 + 6)


async def test_components_that_are_not_measured_come_from_the_forecast() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("pendulum", {"x": MEASURED[0]}))
        [expected] = (await plane.predict(info.id, [0.27])).fields["x"]
        measured = np.array([0.25, np.nan], np.float32)
        await plane.observe(info.id, seen(0.27, {"x": [True, False]}, x=measured))
        layers, observers = open_loop(MEASURED[0], 8)
        filled = np.array([0.25, expected[1]], np.float32)
        layers, _ = corrected(layers, observers, filled, 0.27, 1.0)
        forecast = await plane.predict(info.id, [0.27 + 8 * DT])
        np.testing.assert_allclose(forecast.fields["x"][0], layers[-1], rtol=1e-5)


async def test_beyond_the_horizon_only_whole_measurements_are_taken() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("pendulum", {"x": MEASURED[0]}, horizon_steps=3))
        with pytest.raises(OutOfRange, match=r"up to 0\.3") as raised:
            await plane.observe(info.id, seen(0.5, {"x": [True, False]}, x=MEASURED[1]))
        assert raised.value.field == "t.0"
        assert (await plane.observe(info.id, seen(0.5, x=MEASURED[1]))).t == 0.5
        with pytest.raises(OutOfRange):
            await plane.predict(info.id, [0.6, 0.81])


async def test_a_gain_is_chosen_to_fit_the_limit() -> None:
    limits = replace(LIMITS, defaults=SessionDefaults(max_noise_gain=2.0))
    async with session_plane(limits=limits) as (plane, _):
        with pytest.raises(OutOfRange) as raised:
            await plane.open(opening("pendulum", {"x": MEASURED[0]}))
        assert raised.value.field == "options.gain"
        info = await plane.open(opening("pendulum", {"x": MEASURED[0]}, automatic_gain=True))
        assert info.noise_gain == pytest.approx(2.0)
        assert 0 < info.gain < 1
        own = await plane.open(opening("pendulum", {"x": MEASURED[0]}, max_noise_gain=99.0))
        assert (own.gain, own.noise_gain > 2) == (1.0, True)


# --- Calls ----------------------------------------------------------------------------------------


async def test_the_same_observation_twice_counts_once() -> None:
    async with session_plane() as (plane, served):
        info = await plane.open(opening("drift", DRIFT))
        first = await plane.observe(info.id, seen(0.2, w=FIELD))
        jobs = len(served)
        assert await plane.observe(info.id, seen(0.2, w=FIELD)) == first
        assert len(served) == jobs
        with pytest.raises(OutOfRange):
            await plane.observe(info.id, seen(0.2, w=FORCING))


async def test_a_large_observation_is_read_like_any_other() -> None:
    limits = replace(LIMITS, max_body_bytes=1 << 26)
    async with session_plane(limits=limits) as (plane, _):
        info = await plane.open(opening("drift", DRIFT, ttl_s=60.0))
        # More than is hashed at once.
        wide = np.zeros((1, SIZE, 1 << 15), np.float32)
        with pytest.raises(WrongShape):
            await plane.observe(info.id, Observation((0.1,), {"w": wide}))
        assert Observation((0.1,), {"w": wide}, {"w": wide > 0}).num_bytes == 5 * wide.size


async def test_of_two_writers_one_is_told() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        calls = [plane.observe(info.id, seen(0.1, w=w)) for w in (FIELD, FORCING)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["SessionConflict", "SessionInfo"]
        # The same call from two places is one.
        again = [plane.observe(info.id, seen(0.3, w=FIELD)) for _ in range(2)]
        one, other = await asyncio.gather(*again)
        assert one == other


async def test_a_snapshot_goes_on_elsewhere() -> None:
    async with session_plane() as (here, _), session_plane() as (there, _):
        info = await here.open(opening("recall", {"u": FRAMES[:2]}, ttl_s=60.0))
        await here.observe(info.id, seen(0.1, u=FRAMES[2]))
        restored = await there.restore(await here.snapshot(info.id))
        assert (restored.t, restored.sequence, restored.expires_in_s) == (0.1, 0, 60.0)
        assert restored.id != info.id
        one, other = await here.predict(info.id, [0.3]), await there.predict(restored.id, [0.3])
        np.testing.assert_array_equal(one.fields["u"], other.fields["u"])
        pendulum = await here.open(opening("pendulum", {"x": MEASURED[0]}, gain=0.25))
        moved = await there.restore(await here.snapshot(pendulum.id))
        assert (moved.gain, moved.noise_gain) == (0.25, pendulum.noise_gain)


async def test_a_closed_session_is_unknown() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        await plane.close(info.id)
        for call in (
            plane.get(info.id),
            plane.predict(info.id, [0.1]),
            plane.observe(info.id, seen(0.1, w=FIELD)),
            plane.snapshot(info.id),
            plane.close(info.id),
        ):
            with pytest.raises(UnknownSession):
                await call


async def test_a_deadline_that_has_passed_is_told() -> None:
    async with session_plane() as (plane, served):
        info = await plane.open(opening("drift", DRIFT))
        with pytest.raises(DeadlineExceeded):
            await plane.predict(info.id, [0.1], Terms(deadline=1.0))
        assert not served


REFUSED_OPENINGS = {
    "no such model": (opening("nothing", DRIFT), UnknownModel, "model"),
    "does not advance": (opening("members", {"u0": FIELD}), InvalidOption, "model"),
    "no time": (opening("drift", DRIFT, t=float("nan")), NotFinite, "t"),
    "missing": (opening("drift", {"w": FIELD}), MissingInput, "inputs.f"),
    "resolution": (
        opening("recall", {"u": np.ones((2, 8), np.float32)}),
        UnvalidatedResolution,
        "inputs.u",
    ),
    "two measurements": (opening("pendulum", {"x": MEASURED}), WrongShape, "inputs.x"),
    "gain of a rollout": (opening("drift", DRIFT, gain=0.5), InvalidOption, "options.gain"),
    "negative gain": (
        opening("pendulum", {"x": MEASURED[0]}, gain=-1.0),
        OutOfRange,
        "options.gain",
    ),
    "two gains": (
        opening("pendulum", {"x": MEASURED[0]}, gain=1.0, automatic_gain=True),
        InvalidOption,
        "options.gain",
    ),
    "no horizon": (
        opening("pendulum", {"x": MEASURED[0]}, horizon_steps=0),
        OutOfRange,
        "options.horizon_steps",
    ),
    "no noise gain": (
        opening("pendulum", {"x": MEASURED[0]}, max_noise_gain=0.5),
        OutOfRange,
        "options.max_noise_gain",
    ),
    "forever": (opening("drift", DRIFT, ttl_s=1e9), OutOfRange, "options.ttl_s"),
}


@pytest.mark.parametrize("case", REFUSED_OPENINGS)
async def test_what_no_session_can_begin_with_is_refused_by_its_field(case) -> None:
    request, kind, field = REFUSED_OPENINGS[case]
    async with session_plane() as (plane, served):
        with pytest.raises(kind) as raised:
            await plane.open(request)
        assert raised.value.field == field
        assert not served


REFUSED_MEASUREMENTS = {
    "no time": (Observation((), {"w": FIELD[:0]}), InvalidOption, "t"),
    "now": (seen(0.0, w=FIELD), OutOfRange, "t.0"),
    "not ascending": (seen([0.2, 0.1], w=FRAMES[:2]), OutOfRange, "t.1"),
    "between later steps": (seen([0.2, 0.35], w=FRAMES[:2]), OutOfRange, "t.1"),
    "between steps": (seen(0.15, w=FIELD), OutOfRange, "t.0"),
    "too far": (seen(409.7, w=FIELD), OutOfRange, "t.0"),
    "nothing": (Observation((0.1,), {}), MissingInput, "values"),
    "unknown": (seen(0.1, v=FIELD), UnknownInput, "values.v"),
    "not carried": (seen(0.1, f=FIELD), UnknownInput, "values.f"),
    "stray mask": (
        Observation((0.1,), {"w": FIELD[None]}, {"v": FIELD[None] > 0}),
        UnknownInput,
        "masks.v",
    ),
    "shape": (seen(0.1, w=FIELD[:5]), WrongShape, "values.w"),
    "without times": (Observation((0.1,), {"w": FIELD}), WrongShape, "values.w"),
    "dtype": (seen(0.1, w=FIELD.astype(np.float64)), WrongDtype, "values.w"),
    "dtype of a mask": (seen(0.1, {"w": np.ones(SIZE)}, w=FIELD), WrongDtype, "masks.w"),
    "not finite": (seen(0.1, w=np.full(SIZE, np.nan, np.float32)), NotFinite, "values.w"),
    "no finite time": (seen(float("inf"), w=FIELD), NotFinite, "t.0"),
}


@pytest.mark.parametrize("case", REFUSED_MEASUREMENTS)
async def test_what_cannot_be_observed_is_refused_by_its_field(case) -> None:
    observation, kind, field = REFUSED_MEASUREMENTS[case]
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        with pytest.raises(kind) as raised:
            await plane.observe(info.id, observation)
        assert raised.value.field == field
        assert await plane.get(info.id) == info


@pytest.mark.parametrize("t", [[], [0.0], [0.2, 0.2], [0.15], [float("nan")], [409.7]])
async def test_what_cannot_be_forecast_is_refused(t) -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        with pytest.raises((OutOfRange, InvalidOption)) as raised:
            await plane.predict(info.id, t)
        assert raised.value.field.startswith("t")


async def test_sessions_and_forecasts_are_bounded() -> None:
    limits = replace(LIMITS, max_body_bytes=1024)
    async with session_plane(limits=limits) as (plane, _):
        with pytest.raises(BodyTooLarge):
            await plane.open(opening("pendulum", {"x": MEASURED[0]}, horizon_steps=100))
        info = await plane.open(opening("drift", DRIFT))
        with pytest.raises(InvalidOption, match="fewer times"):
            await plane.predict(info.id, [DT * n for n in range(1, 20)])


async def test_plain_numbers_are_of_the_type_of_the_model() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        plain = seen(0.1, untyped=frozenset({"w"}), w=FIELD.astype(np.float64))
        await plane.observe(info.id, plain)
        forecast = await plane.predict(info.id, [0.2])
        np.testing.assert_array_equal(forecast.fields["w"][0], drifted(FIELD, 1))


TAMPERED = {
    "parameters beyond": (lambda m: m.update(parameters=[7.0]), "parameters.rate"),
    "parameters too few": (lambda m: m.update(parameters=[]), "parameters"),
    "for ever": (lambda m: m["options"].update(ttl_s=1e9), "options.ttl_s"),
    "another model": (lambda m: m["model"].update(digest="other"), ""),
}


@pytest.mark.parametrize("case", TAMPERED)
async def test_a_snapshot_promises_no_more_than_an_opening(case) -> None:
    change, field = TAMPERED[case]
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        tensors, metadata = wire.decode_safetensors(await plane.snapshot(info.id))
        change(metadata)
        with pytest.raises(ServingError) as raised:
            await plane.restore(wire.encode_safetensors(tensors, metadata))
        assert raised.value.field == field


async def test_a_gain_that_the_server_would_refuse_is_not_restored() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("pendulum", {"x": MEASURED[0]}))
        tensors, metadata = wire.decode_safetensors(await plane.snapshot(info.id))
        metadata["options"]["gain"] = 1e6
        with pytest.raises(OutOfRange) as raised:
            await plane.restore(wire.encode_safetensors(tensors, metadata))
        assert raised.value.field == "options.gain"


async def test_what_is_no_snapshot_is_refused() -> None:
    async with session_plane() as (plane, _):
        info = await plane.open(opening("drift", DRIFT))
        data = await plane.snapshot(info.id)
        for body in (b"", b"{}", data[:100], data.replace(b"session", b"sessiom")):
            with pytest.raises(MalformedBody):
                await plane.restore(body)
