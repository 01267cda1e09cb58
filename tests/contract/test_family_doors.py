"""Every family is answered alike through every door, alone and in company."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from certisolve import Client, InvalidRequest
from certisolve_server.bench import LocalServer
from doors import DOORS, solve_through
from family_models import (
    SIZE,
    cascade,
    matrix_of,
    members,
    moved_mean,
    three_drifts,
    three_recalls,
    turned,
)

every_door = pytest.mark.parametrize("door", DOORS)

RNG = np.random.default_rng(4)
FIELD, FORCING = RNG.uniform(0.1, 0.9, (2, SIZE)).astype(np.float32)
HISTORY = RNG.uniform(0.1, 0.9, (5, SIZE)).astype(np.float32)
MEASURED = RNG.uniform(-1, 1, (6, 2)).astype(np.float32)
# The SDK sends float32, whatever it is given.
SOURCE = RNG.normal(size=SIZE).astype(np.float32).astype(np.float64)
POINT = {"y": RNG.normal(size=2).astype(np.float32)}

#: Inputs, and the fields that plain loops give.
PROBLEMS = {
    "drift": ({"w": FIELD, "f": FORCING}, three_drifts, ("v", "w")),
    "recall": ({"u": HISTORY}, three_recalls, ("u", "passes")),
    "pendulum": ({"x": MEASURED}, lambda x: (cascade(x, 3),), ("x",)),
    "members": ({"u0": FIELD}, moved_mean, ("u", "u_std")),
}


def expected(model):
    inputs, answer, names = PROBLEMS[model]
    taken = [torch.from_numpy(field)[None] for field in inputs.values()]
    rate = [torch.tensor([0.5])] if model == "drift" else []
    return dict(zip(names, (field[0].numpy() for field in answer(*taken, *rate)), strict=True))


@every_door
@pytest.mark.parametrize("model", PROBLEMS)
def test_the_answer_is_that_of_a_plain_loop(door, model, family_server: LocalServer):
    [solution] = solve_through(door, family_server, model, [PROBLEMS[model][0]])
    assert solution.status == "ok"
    for name, field in expected(model).items():
        assert solution.fields[name].dtype == field.dtype
        # The same operations, fused or not: a few roundings of float32.
        np.testing.assert_allclose(solution.fields[name], field, rtol=2e-6, atol=2e-6)
        timed = () if model == "members" else ("t",)
        assert solution.axes[name][: len(timed)] == timed
    assert list(solution.t) == ([1.0] if model == "members" else [0.1, 0.2, 0.3])


@every_door
def test_a_linear_system_is_solved_to_the_tolerance_asked_for(door, family_server: LocalServer):
    inputs, matrix = {"k": FIELD, "f": SOURCE}, matrix_of(torch.from_numpy(FIELD)[None])[0].numpy()
    nfe = []
    for tolerance in (1e-3, None, 1e-11):
        [solution] = solve_through(door, family_server, "screened", [inputs], tolerance=tolerance)
        u, diagnostics = solution.fields["u"], solution.diagnostics
        residual = np.linalg.norm(SOURCE - matrix @ u) / np.linalg.norm(SOURCE)
        assert (u.dtype, solution.status) == (np.float64, "ok")
        # Rounding of the residual itself, which is that of float64 against |f|.
        assert diagnostics.residual == pytest.approx(residual, rel=1e-6, abs=1e-14)
        assert residual <= (tolerance or 1e-8) * (1 + 1e-6)
        # A looser answer has not the error that was measured.
        assert diagnostics.expected_error == (None if tolerance == 1e-3 else 0.01)
        nfe.append(diagnostics.nfe)
    assert nfe[0] < nfe[1] <= nfe[2]  # sixteen unknowns take sixteen steps at most


@every_door
@pytest.mark.parametrize("t", [None, [0.1], [1e-6, 0.123456, 0.5, 2.0], [3.0, 8.0]])
def test_a_vector_field_is_integrated_to_any_times(door, t, family_server: LocalServer):
    [solution] = solve_through(
        door, family_server, "rotation", [POINT], t=t, parameters={"rate": 3.0}
    )
    exact = turned(torch.from_numpy(POINT["y"])[None], torch.tensor([3.0]), t or (0.5, 1.0, 2.0))
    assert (solution.status, solution.axes["y"]) == ("ok", ("t", "state"))
    assert list(solution.t) == (t or [0.5, 1.0, 2.0])
    # Some twenty steps, each of an error of 1e-5.
    np.testing.assert_allclose(solution.fields["y"], exact[0].numpy(), atol=1e-4)
    assert solution.diagnostics.out_of_range == (("horizon",) if solution.t[-1] > 2 else ())


@every_door
def test_an_integration_is_as_exact_as_asked_for(door, family_server: LocalServer):
    exact = turned(torch.from_numpy(POINT["y"])[None], torch.tensor([9.0]))[0].numpy()
    found = []
    for tolerances in ({"rtol": 1e-2, "atol": 1e-2}, {"rtol": 1e-3}, {}, {"rtol": 1e-6}):
        [solution] = solve_through(
            door, family_server, "rotation", [POINT], parameters={"rate": 9.0}, **tolerances
        )
        diagnostics = solution.diagnostics
        loose = tolerances.get("rtol", 0.0) > 1e-5
        assert diagnostics.expected_error == (None if loose else 0.05)
        assert diagnostics.rejected_steps >= 0
        found.append((np.abs(solution.fields["y"] - exact).max(), diagnostics.nfe))
    errors, nfe = zip(*found, strict=True)
    assert list(nfe) == sorted(nfe)
    assert nfe[0] < nfe[-1]
    assert errors[0] > 100 * errors[-1]


@every_door
def test_a_way_that_takes_too_many_steps_ends_at_its_last_state(door, family_server: LocalServer):
    asked = {"t": [0.5, 8.0], "rtol": 1e-6, "parameters": {"rate": 100.0}}
    [solution] = solve_through(door, family_server, "rotation", [POINT], **asked)
    assert solution.status == "max_steps"
    reached = list(solution.t)
    assert reached[0] == 0.5
    assert 0.5 < reached[1] < 8.0
    exact = turned(torch.from_numpy(POINT["y"])[None], torch.tensor([100.0]), reached)
    np.testing.assert_allclose(solution.fields["y"], exact[0].numpy(), atol=5e-3)
    assert solution.diagnostics.expected_error is None


@every_door
def test_what_was_found_reaches_the_caller(door, family_server: LocalServer):
    [rollout] = solve_through(door, family_server, "drift", [PROBLEMS["drift"][0]])
    assert rollout.diagnostics.residual == pytest.approx(rollout.fields["w"].mean(), rel=1e-5)
    assert rollout.diagnostics.knot_excess == pytest.approx(rollout.fields["w"].max() - 10)
    assert rollout.diagnostics.in_validated_range
    assert rollout.diagnostics.nfe == 3
    [memory] = solve_through(door, family_server, "recall", [PROBLEMS["recall"][0]])
    assert memory.diagnostics.nfe == 5 + 2
    assert memory.diagnostics.residual is None
    [forecast] = solve_through(door, family_server, "pendulum", [PROBLEMS["pendulum"][0]])
    assert forecast.diagnostics.nfe == 6 * 3 + 2
    assert forecast.diagnostics.noise_gain == pytest.approx(
        np.prod([1 + 0.4 * np.exp(-0.2 * layer) for layer in range(3)])
    )
    [ensemble] = solve_through(door, family_server, "members", [PROBLEMS["members"][0]])
    mean = members(torch.from_numpy(FIELD)[None])[0].mean(dim=0)
    defect = abs(mean.mean() - FIELD.mean()) / mean.abs().mean()
    assert ensemble.diagnostics.conservation_defect == pytest.approx(float(defect), rel=1e-5)
    assert ensemble.fields["u"].mean() == pytest.approx(FIELD.mean(), rel=1e-6)


@every_door
def test_an_answer_beyond_the_knots_is_out_of_range(door, family_server: LocalServer):
    inputs = {"w": FIELD * 100, "f": FORCING}
    [solution] = solve_through(door, family_server, "drift", [inputs])
    assert solution.diagnostics.knot_excess > 0
    assert solution.diagnostics.out_of_range == ("knots",)
    assert not solution.diagnostics.in_validated_range
    assert solution.diagnostics.expected_error is None


@every_door
def test_times_are_chosen_by_the_caller_and_the_error_is_that_of_the_last(
    door, family_server: LocalServer
):
    inputs, whole = PROBLEMS["drift"][0], np.round(np.arange(1, 10) / 10, 1)
    [long] = solve_through(door, family_server, "drift", [inputs], t=whole)
    [solution] = solve_through(door, family_server, "drift", [inputs], t=[0.2, 0.7])
    np.testing.assert_array_equal(solution.fields["w"], long.fields["w"][[1, 6]])
    assert list(solution.t) == [0.2, 0.7]
    assert solution.diagnostics.expected_error == 0.05
    assert solution.diagnostics.nfe == 7
    assert long.diagnostics.out_of_range == ("horizon",)
    assert long.diagnostics.expected_error is None


@every_door
def test_frames_are_counted_in_steps(door, family_server: LocalServer):
    inputs = PROBLEMS["drift"][0]
    [whole] = solve_through(door, family_server, "drift", [inputs], steps=7)
    [some] = solve_through(door, family_server, "drift", [inputs], steps=7, save_every=3)
    [rest] = solve_through(
        door, family_server, "drift", [inputs], t=[0.1, 0.7], save_every=3, resume_from=1
    )
    assert list(whole.t) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert list(some.t) == list(rest.t) == [0.3, 0.6, 0.7]
    np.testing.assert_array_equal(some.fields["w"], whole.fields["w"][[2, 5, 6]])
    np.testing.assert_array_equal(rest.fields["w"], some.fields["w"])
    assert [each.diagnostics.nfe for each in (whole, some, rest)] == [7, 7, 7]
    assert rest.diagnostics.expected_error == 0.05


@every_door
def test_a_rollout_that_overflows_ends_with_its_last_good_frame(door, family_server: LocalServer):
    inputs, options = {"w": FIELD, "f": FORCING}, {"parameters": {"rate": 2.0}}
    [solution] = solve_through(door, family_server, "drift", [inputs], t=[0.1, 20.0], **options)
    assert solution.status == "diverged"
    first, last = solution.t
    assert first == 0.1 < last < 20.0
    assert solution.fields["w"].shape[0] == 2
    assert np.isfinite(solution.fields["w"]).all()
    assert np.abs(solution.fields["w"][1]).max() > 1e30
    assert solution.diagnostics.nfe == round(last / 0.1) + 1
    assert solution.diagnostics.expected_error is None


REFUSED = {
    "between steps": ("drift", {"t": [0.15]}, "t.0"),
    "not ascending": ("drift", {"t": [0.2, 0.1]}, "t.1"),
    "twice": ("drift", {"t": [0.2, 0.2]}, "t.1"),
    "now": ("drift", {"t": [0.0]}, "t.0"),
    "before": ("drift", {"t": [-0.1]}, "t.0"),
    "too far": ("pendulum", {"t": [0.1, 409.7]}, "t.1"),
    "more than is sent back": ("drift", {"t": np.arange(1, 514) / 10}, "t"),
    "more steps than are sent back": ("drift", {"steps": 513}, "steps"),
    "more steps than are run": ("drift", {"steps": 2**62, "save_every": 2**61}, "steps"),
    "steps and times": ("drift", {"steps": 1, "t": [0.1]}, "steps"),
    "nothing left": ("drift", {"steps": 2, "resume_from": 2}, "options.resume_from"),
    "steps of no rollout": ("members", {"steps": 2}, "steps"),
    "frames of no rollout": ("members", {"save_every": 2}, "options.save_every"),
    "tolerance of a rollout": ("drift", {"tolerance": 1e-3}, "options.tolerance"),
    "relative tolerance of a rollout": ("drift", {"rtol": 1e-3}, "options.rtol"),
    "absolute tolerance of a rollout": ("drift", {"atol": 1e-3}, "options.atol"),
    "relative tolerance of roundings": ("rotation", {"rtol": 1e-9}, "options.rtol"),
    "absolute tolerance of nothing": ("rotation", {"atol": 0.0}, "options.atol"),
    "tolerance of an integration": ("rotation", {"tolerance": 1e-3}, "options.tolerance"),
    "times before the start": ("rotation", {"t": [-1.0, 1.0]}, "t.0"),
    "times that descend": ("rotation", {"t": [1.0, 0.5]}, "t.1"),
    "times too far": ("rotation", {"t": [8.5]}, "t.0"),
    "tolerance of nothing": ("screened", {"tolerance": 0.0}, "options.tolerance"),
    "tolerance below zero": ("screened", {"tolerance": -1.0}, "options.tolerance"),
    "tolerance of one": ("screened", {"tolerance": 1.0}, "options.tolerance"),
    "tolerance too strict": ("screened", {"tolerance": 1e-15}, "options.tolerance"),
}


@every_door
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_by_its_field(door, case, family_server: LocalServer):
    model, options, field = REFUSED[case]
    others = {"screened": {"k": FIELD, "f": SOURCE}, "rotation": POINT}
    inputs = others[model] if model in others else PROBLEMS[model][0]
    with pytest.raises(InvalidRequest) as raised:
        solve_through(door, family_server, model, [inputs], **options)
    assert raised.value.field == field


@every_door
def test_without_diagnostics_nothing_is_told(door, family_server: LocalServer):
    inputs = PROBLEMS["drift"][0]
    [solution] = solve_through(door, family_server, "drift", [inputs], diagnostics=False)
    assert solution.diagnostics is None


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_requests_in_one_batch_are_answered_as_alone(scheme, family_server: LocalServer):
    rows = RNG.uniform(0.1, 0.9, (24, SIZE)).astype(np.float32)
    asked = [
        {"model": "drift", "inputs": {"w": row, "f": FORCING}, "t": np.arange(1, n % 8 + 2) / 10}
        for n, row in enumerate(rows)
    ]
    asked += [
        {"model": "pendulum", "inputs": {"x": MEASURED + n}, "t": [0.1, 0.1 * (n % 7 + 2)]}
        for n in range(24)
    ]
    asked += [
        {
            "model": "screened",
            "inputs": {"k": FIELD, "f": SOURCE * (n + 1)},
            "tolerance": 10.0 ** -(n % 8 + 3),
        }
        for n in range(24)
    ]
    with Client(family_server.url(scheme)) as client, ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda each: client.solve(**each), asked))
        alone = [client.solve(**each) for each in asked]
    assert max(solution.batch_size for solution in together) > 1
    for shared, single in zip(together, alone, strict=True):
        assert shared.diagnostics.nfe == single.diagnostics.nfe
        for name, field in single.fields.items():
            # Products over several rows may be summed in another order; a linear system
            # carries that through its iterations.
            np.testing.assert_allclose(shared.fields[name], field, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_dataset_has_times_as_an_axis(scheme, family_server: LocalServer):
    with Client(family_server.url(scheme)) as client:
        dataset = client.solve("drift", PROBLEMS["drift"][0], t=[0.1, 0.4]).to_xarray()
    assert dataset["w"].dims == ("t", "x")
    assert list(dataset["t"].values) == [0.1, 0.4]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_rollout_may_be_a_job(scheme, family_server: LocalServer):
    with Client(family_server.url(scheme)) as client:
        solution = client.submit_solve("drift", PROBLEMS["drift"][0], t=[0.3]).wait()
    np.testing.assert_allclose(solution.fields["w"], expected("drift")["w"][2:], rtol=2e-6)
    assert solution.diagnostics.nfe == 3
