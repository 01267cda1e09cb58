"""What users do with an answer."""

import dataclasses

import numpy as np
import pytest

from certisolve import Diagnostics, JobStatus, ModelRef, Solution, Timings

SOLUTION = Solution(
    fields={"u": np.arange(6.0).reshape(2, 3), "mean": np.ones(3)},
    axes={"u": ("y", "x"), "mean": ("x",)},
    t=np.array([0.5]),
    coords={"x": np.linspace(0, 1, 3), "y": np.array([0.0, 0.5])},
    status="ok",
    diagnostics=Diagnostics(True, None, 0.01),
    timings_ms=Timings(1.0, 2.0, 3.0),
    batch_size=1,
    model=ModelRef("m", "1", "digest"),
)


def test_a_dataset_has_named_dimensions_and_coordinates():
    dataset = SOLUTION.to_xarray()
    assert dict(dataset.sizes) == {"y": 2, "x": 3}
    assert dataset["u"].sel(x=1.0, y=0.5) == 5.0
    assert dataset["mean"].dims == ("x",)
    assert dataset["t"] == 0.5


def test_a_dataset_says_how_far_to_trust_it():
    attributes = SOLUTION.to_xarray().attrs
    assert attributes["expected_error"] == 0.01
    assert attributes["in_validated_range"]
    assert attributes["model_digest"] == "digest"


def test_times_that_are_an_axis_label_it():
    fields = {"u": np.zeros((2, 3))}
    solution = dataclasses.replace(
        SOLUTION, fields=fields, axes={"u": ("t", "x")}, t=np.array([0.5, 1.0])
    )
    assert solution.to_xarray()["u"].sel(t=1.0).dims == ("x",)


@pytest.mark.parametrize("t", [np.zeros(0), np.array([1.0])], ids=["no time", "a time"])
def test_a_grid_axis_named_t_keeps_its_points(t):
    coords = {"t": np.array([0.0, 0.25]), "x": SOLUTION.coords["x"]}
    solution = dataclasses.replace(
        SOLUTION, fields={"u": np.zeros((2, 3))}, axes={"u": ("t", "x")}, t=t, coords=coords
    )
    assert solution.to_xarray()["t"].values.tolist() == [0.0, 0.25]


def test_a_stationary_solution_has_no_time():
    assert "t" not in dataclasses.replace(SOLUTION, t=np.zeros(0)).to_xarray().coords


def test_axes_without_coordinates_stay_bare():
    dataset = dataclasses.replace(SOLUTION, coords={}, diagnostics=None).to_xarray()
    assert set(dataset.coords) == {"t"}
    assert "expected_error" not in dataset.attrs


def test_solutions_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SOLUTION.status = "better"


def test_only_the_last_three_states_of_a_job_are_final():
    assert [status.value for status in JobStatus if status.ended] == [
        "succeeded",
        "failed",
        "cancelled",
    ]
