import dataclasses

import matplotlib.image
import numpy as np
import pytest

from certisolve import Diagnostics, ModelRef, Solution, Timings
from certisolve.manifest import Axis, Feedback, Stepping, TensorSpec, ValidatedResolution
from certisolve_server.cli.plot import draw
from certisolve_server.cli.solve import error_bar
from helpers import PERIODIC, field_manifest


def _is_a_picture(path):
    pixels = matplotlib.image.imread(path)
    return pixels.shape[0] > 100 and pixels.shape[1] > 100 and pixels.std() > 0


def test_a_line_is_drawn_over_its_axis(call, server, tmp_path):
    np.save(tmp_path / "u0.npy", np.linspace(0, 1, 16, dtype=np.float32))
    out = tmp_path / "out.png"
    arguments = ("solve", "double", "-i", f"u0={tmp_path / 'u0.npy'}", "--plot", out)
    result = call(*arguments, "--url", server.http)
    assert result.exit_code == 0, result.output
    assert _is_a_picture(out)


def test_points_are_drawn_as_a_scatter(call, server, tmp_path):
    out = tmp_path / "out.png"
    points = ("-i", "x=0.1,0.5,0.9", "-i", "y=0.5,0.1,0.3")
    result = call("solve", "product", *points, "--plot", out, "--url", server.http)
    assert result.exit_code == 0, result.output
    assert _is_a_picture(out)


def _solution(manifest, sizes):
    shape = [sizes.get(axis) or manifest.axes[axis].size or 1 for axis in manifest.outputs[0].axes]
    field = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Solution(
        fields={"u": field},
        axes={"u": manifest.outputs[0].axes},
        t=np.array([1.0]),
        coords={axis: np.linspace(0, 1, size) for axis, size in sizes.items()},
        status="ok",
        diagnostics=Diagnostics(in_validated_range=True, resampled_from=None, expected_error=0.01),
        timings_ms=Timings(0.0, 0.0, 0.0),
        batch_size=1,
        model=ModelRef(manifest.name, "1", "0" * 64),
    )


@pytest.mark.parametrize("axes", [("y", "x"), ("component", "y", "x"), ("x", "component")])
def test_fields_of_every_layout_are_drawn(tmp_path, axes):
    sizes = {axis: size for axis, size in {"y": 8, "x": 12}.items() if axis in axes}
    components = Axis(kind="channel", size=2, labels=("u", "v"))
    names = {"y": PERIODIC, "x": PERIODIC, "component": components}
    manifest = field_manifest(
        "layout",
        axes={name: axis for name, axis in names.items() if name in axes},
        inputs=(TensorSpec(name="u0", dtype="F32", axes=axes, description="before", units="m/s"),),
        outputs=(TensorSpec(name="u", dtype="F32", axes=axes, description="after", units="m/s"),),
        resolutions=(
            ValidatedResolution(
                sizes=sizes, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=3
            ),
        ),
    )
    solution = _solution(manifest, sizes)
    path = tmp_path / "out.png"
    draw(path, solution, manifest, {"u0": solution.fields["u"]})
    assert _is_a_picture(path)


@pytest.mark.parametrize("layout", ["moving-line", "moving-plane", "forecast", "points-of-a-field"])
def test_answers_of_every_family_are_drawn(tmp_path, layout):
    state = Axis(kind="channel", size=2, labels=("x", "y"))
    points = Axis(kind="points", minimum=1, maximum=9)
    axes, taken, returned = {
        "moving-line": ({"x": PERIODIC}, ("x",), ("x",)),
        "moving-plane": ({"y": PERIODIC, "x": PERIODIC}, ("y", "x"), ("y", "x")),
        "forecast": (
            {"measurement": points, "state": state},
            ("measurement", "state"),
            ("state",),
        ),
        "points-of-a-field": ({"x": PERIODIC, "point": points}, ("x",), ("point",)),
    }[layout]
    grid = {name: 6 for name, axis in axes.items() if axis.kind == "grid"}
    sizes = {**grid, "measurement": 4, "state": 2, "point": 5, "t": 3}
    stepping = None if layout == "points-of-a-field" else Stepping(dt=0.5, max_steps=3)
    place = TensorSpec(name="place", dtype="F32", axes=("point",), description="where")
    manifest = field_manifest(
        "family",
        family={"forecast": "feedback-ode", "points-of-a-field": "map"}.get(layout, "rollout"),
        feedback=Feedback(decay=0.0, eigenvalue=1.0) if layout == "forecast" else None,
        stepping=stepping,
        t=(0.5, 1.0, 1.5),
        axes=axes,
        inputs=(
            TensorSpec(name="u", dtype="F32", axes=taken, description="before"),
            *((place,) if stepping is None else ()),
        ),
        outputs=(
            TensorSpec(
                name="u" if stepping else "v", dtype="F32", axes=returned, description="after"
            ),
        ),
        resolutions=(
            ValidatedResolution(
                sizes=grid, error=0.01, worst_error=0.02, metric="rel_l2", num_samples=3
            ),
        ),
    )
    shown = ("t", *returned) if stepping else returned
    solution = dataclasses.replace(
        _solution(manifest, grid),
        fields={
            manifest.outputs[0].name: np.random.default_rng(0).random([sizes[a] for a in shown])
        },
        axes={manifest.outputs[0].name: shown},
        t=np.array(manifest.t),
    )
    sent = {
        spec.name: np.random.default_rng(1).random([sizes[a] for a in spec.axes])
        for spec in manifest.inputs
    }
    draw(tmp_path / "out.png", solution, manifest, sent)
    assert _is_a_picture(tmp_path / "out.png")


def test_the_error_of_a_forecast_is_told_at_its_last_time_and_as_a_whole():
    measured = ValidatedResolution(
        sizes={"x": 6},
        error=0.01,
        worst_error=0.02,
        metric="rel_l2",
        num_samples=3,
        t=(0.5, 1.0),
        error_at_t=(0.01, 0.03),
    )
    manifest = field_manifest(
        "forecast",
        family="rollout",
        stepping=Stepping(dt=0.5, max_steps=2),
        t=(0.5, 1.0),
        inputs=(TensorSpec(name="u", dtype="F32", axes=("x",), description="now"),),
        resolutions=(measured,),
    )
    solution = dataclasses.replace(
        _solution(manifest, {"x": 6}),
        diagnostics=Diagnostics(in_validated_range=True, resampled_from=None, expected_error=0.03),
    )
    told = error_bar(solution, manifest)
    assert told.startswith("3 % rel. L2 expected at t = 1; whole forecasts 1 %")
    assert "at most 2 %" in told
