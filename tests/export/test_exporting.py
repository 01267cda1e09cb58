"""What passes is an artifact that a server loads, and that answers as the model did."""

import hashlib
import json
import stat
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import nn

from certisolve.manifest import Manifest
from certisolve_export import (
    ComplexInOnnx,
    SampleError,
    Samples,
    SpecialisedBatch,
    UnreadableProgram,
    UnsupportedDtype,
    export,
    read_samples,
)
from certisolve_server.artifacts import golden_cases, is_aten_operator, read_artifact
from certisolve_server.engines import load_engine, open_device

from .conftest import draft, field, resolution

TWO_SIZES = {"resolutions": [resolution(16), resolution(24)]}
GAIN = {
    "name": "gain",
    "minimum": 1.0,
    "maximum": 2.0,
    "default": 1.5,
    "description": "a factor",
    "program_input": True,
}


class PeriodicCnn(nn.Module):
    """u0(x) to u(x), the same on every grid."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        options = {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}
        self.layers = nn.Sequential(
            nn.Conv1d(1, 4, **options), nn.GELU(), nn.Conv1d(4, 1, **options)
        )
        self.eval()

    def forward(self, u0):
        return u0 + self.layers(u0.unsqueeze(1)).squeeze(1)


def serve_it(folder):
    return load_engine(read_artifact(folder), open_device("cpu"))


def answers(engine, batch):
    step = engine.launch([list(batch)]).wait()
    return np.stack([step.row(index)[0] for index in range(step.batch_size)])


@pytest.fixture(params=["torch.export", "onnx"])
def file_format(request):
    return request.param


# torch's own decompositions ask for LeafSpec, which its pytree module deprecates.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_a_server_loads_what_was_exported_and_answers_as_the_model(attempt, file_format):
    network = PeriodicCnn()
    options = {"file_format": file_format, "is_listed": is_aten_operator, "accept": serve_it}
    exported = attempt(network, options=options, **TWO_SIZES)
    engine = serve_it(exported.folder).engine
    for case in golden_cases(engine.artifact):
        np.testing.assert_allclose(answers(engine, case.inputs["u0"]), case.outputs["u"], atol=1e-6)
    # A size between those that were validated, and another batch.
    u0 = torch.rand(5, 20)
    np.testing.assert_allclose(answers(engine, u0.numpy()), network(u0).detach(), atol=1e-6)


def test_the_artifact_is_complete_readable_by_all_and_names_its_digests(attempt):
    folder = attempt(PeriodicCnn()).folder
    files = {path.name: path for path in folder.iterdir()}
    manifest = Manifest.from_json(files.pop("manifest.json").read_bytes())
    assert set(files) == {"program.pt2", "golden.safetensors", "example.json"}
    assert manifest.files == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files.values()}
    assert len(modes) == 1
    with zipfile.ZipFile(files["program.pt2"]) as archive:
        inside = {info.filename: archive.read(info) for info in archive.infolist()}
    assert [data for name, data in inside.items() if "/sample_inputs/" in name] == [b""]
    assert not any(b".py" in data for name, data in inside.items() if name.endswith(".json"))


def test_an_artifact_that_a_server_refuses_does_not_replace_the_one_before(attempt):
    before = attempt(PeriodicCnn())

    def refuse(folder):
        assert (folder / "manifest.json").exists()
        raise RuntimeError("not this one")

    with pytest.raises(RuntimeError, match="not this one"):
        attempt(lambda u: u, options={"accept": refuse})
    assert read_artifact(before.folder).manifest == before.manifest
    assert [path.name for path in before.folder.parents[1].iterdir()] == ["mine"]


def test_a_parameter_goes_to_the_program_and_into_the_example(attempt):
    exported = attempt(lambda u, gain: u * gain[:, None], parameters=[GAIN])
    example = json.loads((exported.folder / "example.json").read_text())
    golden = load_file(exported.folder / "golden.safetensors")
    assert example["parameters"] == {"gain": pytest.approx(float(golden["x=16/inputs/gain"][0]))}
    assert example["inputs"]["u0"] == pytest.approx(golden["x=16/inputs/u0"][0].tolist())
    assert 1.0 <= example["parameters"]["gain"] <= 2.0


def test_examples_are_drawn_within_the_ranges(attempt):
    seen = []

    def watched(u):
        if not torch.compiler.is_exporting():
            seen.append(u.clone())
        return u * 1

    attempt(watched, inputs=[field("u0", values=[3.0, 12.0])])
    assert {value for u in seen for value in u.unique().tolist()} == {3.0, 12.0}


def test_examples_of_the_users_own_are_taken_instead(attempt):
    ones = Samples({"u0": np.ones((3, 16))})
    exported = attempt(torch.log, options={"examples": [ones]})
    golden = load_file(exported.folder / "golden.safetensors")
    assert golden["x=16/inputs/u0"].unique().tolist() == [1.0]


def test_errors_are_measured_on_reference_samples_of_each_resolution(attempt, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {}
    for size, factor in ((16, 1.01), (24, 1.02)):
        u0 = rng.uniform(0.5, 1, (70, size))
        tensors |= {f"x={size}/inputs/u0": u0, f"x={size}/outputs/u": u0 / factor}
    save_file(tensors, tmp_path / "reference.safetensors")
    reference = read_samples(tmp_path / "reference.safetensors")
    sizes = [{"sizes": {"x": 16}}, {"sizes": {"x": 24}}, resolution(32, error=0.5)]
    exported = attempt(lambda u: u * 1, options={"reference": reference}, resolutions=sizes)
    small, large, given = exported.manifest.resolutions
    # Four digits are kept.
    assert (small.error, large.error) == pytest.approx((0.01, 0.02), rel=1e-3)
    assert (small.num_samples, small.metric) == (70, "rel_l2")
    assert (given.error, given.num_samples) == (0.5, 10)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (Samples({"u0": np.ones((4, 16))}), "no answers"),
        (Samples({"u0": np.ones((4, 9))}, {"u": np.ones((4, 9))}), "x=9, which the manifest"),
        (Samples({"u0": np.ones((4, 16))}, {"u": np.ones((3, 16))}), "as many of each"),
        (Samples({"u0": np.ones((4, 16))}, {"u": np.ones((4, 8))}), "8 values along x"),
        (Samples({"u0": np.ones((4, 16))}, {"v": np.ones((4, 16))}), "u is missing"),
        (Samples({"u0": np.ones((4, 16))}, {"u": np.zeros((4, 16))}), "no relative error"),
    ],
)
def test_reference_samples_that_do_not_fit_are_refused(attempt, reference, said):
    with pytest.raises(SampleError, match=said):
        attempt(lambda u: u * 1, options={"reference": [reference]})


def test_complex_numbers_are_served_and_said_and_refused_for_onnx(attempt):
    def half_wave(u):
        return torch.fft.irfft(torch.fft.rfft(u) * 1j, n=u.shape[1])

    exported = attempt(half_wave, options={"accept": serve_it}, **TWO_SIZES)
    assert any("complex" in note for note in exported.notes)
    with pytest.raises(ComplexInOnnx, match="complex"):
        attempt(half_wave, options={"file_format": "onnx"})


def test_a_model_that_advances_in_time_is_measured_over_its_whole_answer(attempt):
    u0 = np.random.default_rng(0).uniform(0.5, 1, (9, 16))
    times = np.array([1, 3])
    answers = u0[:, None] * 0.5 ** times[None, :, None] * 1.1
    exported = attempt(
        lambda u: 0.5 * u,
        options={"reference": [Samples({"u": u0}, {"u": answers})], "accept": serve_it},
        family="rollout",
        inputs=[field("u", minimum=-1.0, maximum=1.0)],
        outputs=[field("u")],
        stepping={"dt": 0.1, "max_steps": 4},
        t=[0.1, 0.3],
        resolutions=[{"sizes": {"x": 16}}],
    )
    [measured] = exported.manifest.resolutions
    assert measured.error == pytest.approx(0.1 / 1.1, rel=1e-3)
    assert (measured.t, len(measured.error_at_t)) == ((0.1, 0.3), 2)


def test_what_a_program_remembers_is_a_state(attempt):
    def step(u, total):
        return u * 1, total + u

    exported = attempt(
        step,
        options={"accept": serve_it},
        family="memory-rollout",
        inputs=[field("u", minimum=-1.0, maximum=1.0)],
        outputs=[field("u")],
        stepping={"dt": 0.1, "max_steps": 4, "states": [field("total")]},
        t=[0.1],
    )
    assert exported.manifest.stepping is not None


class TestOnnxFiles:
    """Files that somebody else's exporter wrote."""

    @pytest.fixture
    def write(self, tmp_path):
        def run(dynamic_shapes, example=None, name="u0"):
            path = tmp_path / "theirs.onnx"
            program = torch.onnx.export(
                PeriodicCnn(),
                (torch.rand(2, 16) if example is None else example,),
                input_names=[name],
                dynamic_shapes=dynamic_shapes,
                dynamo=True,
                verbose=False,
            )
            program.save(path, external_data=False)
            return path

        return run

    pytestmark = pytest.mark.filterwarnings(
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
    )

    def test_a_dynamic_graph_is_taken_as_it_is(self, attempt, write):
        path = write(({0: "batch", 1: "x"},))
        exported = attempt(path, options={"accept": serve_it}, **TWO_SIZES)
        assert (exported.folder / "program.onnx").read_bytes() == path.read_bytes()
        session = onnxruntime.InferenceSession(exported.folder / "program.onnx")
        u0 = torch.rand(3, 24)
        [answer] = session.run(None, {"u0": u0.numpy()})
        torch.testing.assert_close(torch.from_numpy(answer), PeriodicCnn()(u0), rtol=0, atol=1e-5)

    def test_a_fixed_batch_is_refused(self, attempt, write):
        with pytest.raises(SpecialisedBatch, match="fixes batch of u0 to 2"):
            attempt(write(None))

    def test_other_inputs_and_other_types_are_refused(self, attempt, write):
        path = write(({0: "batch", 1: "x"},))
        with pytest.raises(UnreadableProgram, match=r"takes \(u0\), the manifest lists"):
            attempt(path, inputs=[field("u0"), field("u1")])
        with pytest.raises(UnsupportedDtype, match=r"tensor\(float\)"):
            attempt(path, inputs=[field("u0", dtype="F64")])

    def test_what_onnxruntime_cannot_read_is_refused(self, attempt, tmp_path):
        path = tmp_path / "broken.onnx"
        path.write_bytes(b"no graph")
        with pytest.raises(UnreadableProgram, match=r"broken\.onnx"):
            attempt(path)
        with pytest.raises(UnreadableProgram, match="no such file"):
            export(tmp_path / "missing.onnx", draft(), tmp_path)
