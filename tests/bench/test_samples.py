import numpy as np
import pytest

from certisolve.manifest import Axis, TensorSpec, ValidatedResolution
from certisolve_server import admission
from certisolve_server.bench import draw_inputs
from certisolve_server.jobs import SolveRequest
from helpers import PERIODIC, POINTS, field_manifest, parameter


def _spec(**changes):
    return TensorSpec(
        **({"name": "u0", "dtype": "F32", "axes": ("x",), "description": ""} | changes)
    )


MANIFESTS = [
    field_manifest("unbounded"),
    field_manifest("bounded", inputs=(_spec(minimum=-3.0, maximum=3.0),)),
    field_manifest("one-sided", inputs=(_spec(minimum=5.0),)),
    field_manifest("other-side", inputs=(_spec(maximum=-5.0),)),
    field_manifest("double", inputs=(_spec(dtype="F64", minimum=0.0, maximum=1.0),)),
    field_manifest("phases", inputs=(_spec(values=(3.0, 12.0)),)),
    field_manifest("mean", inputs=(_spec(minimum=-3.0, maximum=2.0, max_abs_mean=1e-6),)),
    field_manifest("parameters", parameters=(parameter("nu", 0.01, 0.02, 0.015),)),
    field_manifest("fixed", parameters=(parameter("nu", 0.1, 0.1, 0.1),)),
    field_manifest(
        "channels",
        axes={"x": PERIODIC, "c": Axis(kind="channel", size=2)},
        inputs=(_spec(axes=("x", "c")),),
    ),
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)
def test_what_is_drawn_is_admitted(manifest, seed):
    drawn = draw_inputs(manifest, {}, np.random.default_rng(seed))
    request = SolveRequest(manifest.name, None, drawn.arrays, parameters=drawn.parameters)
    assert not admission.check(request, manifest).resampled


def test_every_admissible_value_is_drawn():
    [manifest] = (each for each in MANIFESTS if each.name == "phases")
    drawn = draw_inputs(manifest, {"x": 32}, np.random.default_rng(0))
    assert set(drawn.arrays["u0"].tolist()) == {3.0, 12.0}


def test_a_resolution_may_be_asked_for():
    drawn = draw_inputs(MANIFESTS[0], {"x": 32}, np.random.default_rng(0))
    assert drawn.arrays["u0"].shape == (32,)


def test_lists_of_points_keep_to_their_limits():
    manifest = field_manifest(
        "points",
        axes={"points": POINTS},
        inputs=(_spec(axes=("points",)),),
        outputs=(TensorSpec(name="u", dtype="F32", axes=("points",), description=""),),
        resolutions=(
            ValidatedResolution(sizes={}, error=0.0, worst_error=0.0, metric="rmse", num_samples=1),
        ),
    )
    size = draw_inputs(manifest, {}, np.random.default_rng(0)).arrays["u0"].size
    assert POINTS.minimum <= size <= (POINTS.maximum or size)


def test_a_seed_gives_the_same_inputs():
    one, other = (draw_inputs(MANIFESTS[1], {}, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.arrays["u0"], other.arrays["u0"])


@pytest.mark.parametrize(("manifest", "axis"), [(MANIFESTS[0], "y"), (MANIFESTS[-1], "c")])
def test_an_axis_that_cannot_be_chosen_is_refused(manifest, axis):
    with pytest.raises(ValueError, match="has x"):
        draw_inputs(manifest, {axis: 3}, np.random.default_rng(0))
