"""Promises of every artifact: portable, without code, the same as the network it came from."""

import hashlib
import json
import zipfile
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from certisolve.manifest import Manifest
from certisolve_export import ExportError
from certisolve_export.layout import GOLDEN_BATCH, golden_case
from certisolve_export.measurement import deviation
from certisolve_zoo.arguments import program_arguments, system_arguments
from certisolve_zoo.artifact import build_artifact
from certisolve_zoo.evaluation import answer, batch_deviation
from certisolve_zoo.export import export_program
from certisolve_zoo.records import WEIGHTS
from certisolve_zoo.training import relative_l2


@pytest.fixture(scope="module")
def manifest(artifact: Path) -> Manifest:
    return Manifest.from_json((artifact / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def exported(artifact: Path) -> torch.export.ExportedProgram:
    return torch.export.load(artifact / "program.pt2")


@pytest.fixture(scope="module")
def program(exported):
    return exported.module()


def test_the_manifest_names_every_file_with_its_digest(artifact, manifest):
    files = {path.name: path.read_bytes() for path in artifact.iterdir()}
    del files["manifest.json"]
    assert manifest.files == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


def test_the_archive_holds_json_text_and_raw_tensors_only(artifact):
    with zipfile.ZipFile(artifact / "program.pt2") as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, content in contents.items():
        if name.endswith(".json"):
            json.loads(content)
        elif "/data/sample_inputs/" in name:
            assert content == b""
        elif "/data/weights/weight_" not in name:
            content.decode("ascii")
            assert len(content) < 100


def test_the_archive_does_not_name_source_files(artifact):
    with zipfile.ZipFile(artifact / "program.pt2") as archive:
        assert b".py" not in archive.read("program/models/model.json")


def test_the_graph_is_real_and_of_aten_operators(exported):
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        assert not (isinstance(value, torch.Tensor) and value.is_complex())
        if node.op == "call_function":
            module = getattr(node.target, "namespace", None) or node.target.__module__
            assert module in {"aten", "_operator", "torch", "math"}, node.target


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_the_loaded_program_equals_the_network(spec, model, program, batch_size):
    for example in spec.examples(batch_size):
        arguments = program_arguments(spec, example)
        for actual, expected in zip(
            _outputs(program, arguments), _outputs(spec.served(model), arguments), strict=True
        ):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_programs_beside_the_network_are_what_the_spec_says(spec, model, artifact):
    beside = {}
    for example in spec.examples(3):
        if spec.checks is not None:
            taken = (*example, *answer(model, spec, example))
            beside["checks.pt2"] = spec.checks.module(model), taken
        if spec.system is not None:
            beside["operator.pt2"] = spec.system.operator(), system_arguments(spec, example)
        for name, (module, taken) in beside.items():
            program = torch.export.load(artifact / name).module()
            for actual, expected in zip(
                _outputs(program, taken), _outputs(module, taken), strict=True
            ):
                torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)
    written = {path.name for path in artifact.glob("*.pt2")}
    assert written == {"program.pt2", *beside}


def test_golden_tensors_hold_every_validated_resolution(spec, model, artifact, manifest):
    golden = load_file(artifact / "golden.safetensors")
    assert len(golden) == len(spec.resolutions) * (len(spec.input_names) + len(spec.outputs))
    for resolution in manifest.resolutions:
        case = golden_case(resolution.sizes)
        inputs = [golden[f"{case}/inputs/{name}"] for name in spec.input_names]
        for tensor, actual in zip(manifest.outputs, answer(model, spec, inputs), strict=True):
            expected = golden[f"{case}/outputs/{tensor.name}"]
            assert len(expected) == GOLDEN_BATCH
            kept = actual[:, : expected.shape[1]] if spec.advances else actual
            yardstick = golden[f"{case}/outputs/{manifest.yardstick(tensor.name)}"]
            assert deviation(kept, expected, yardstick) <= manifest.golden_tolerance


def test_golden_inputs_lie_within_their_bounds(artifact, manifest):
    taken = (*manifest.inputs, *manifest.parameters)
    bounds = {each.name: (each.minimum, each.maximum) for each in taken}
    for key, tensor in load_file(artifact / "golden.safetensors").items():
        _, side, name = key.split("/")
        if side == "inputs":
            lower, upper = bounds[name]
            assert lower is None or lower <= tensor.min()
            assert upper is None or tensor.max() <= upper


def test_an_answer_does_not_depend_on_its_batch(spec, model, manifest):
    assert batch_deviation(model, spec, spec.examples(8)) <= manifest.batch_tolerance


def test_an_artifact_that_is_up_to_date_is_left_alone(spec, artifact, repository):
    before = (artifact / "manifest.json").stat().st_mtime_ns
    folder, built = build_artifact(spec, WEIGHTS, repository)
    assert (folder, built) == (artifact, False)
    assert (artifact / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.slow
# torch's own decompositions ask for LeafSpec, which its pytree module deprecates.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_onnx_runtime_reproduces_the_network(spec, model, tmp_path):
    folder, _ = build_artifact(spec, WEIGHTS, tmp_path, "onnx")
    assert not list(folder.glob("*.data"))
    session = onnxruntime.InferenceSession(folder / "program.onnx")
    names = [node.name for node in session.get_inputs()]
    for example in spec.examples(2):
        arguments = program_arguments(spec, example)
        expected = _outputs(spec.served(model), arguments)
        feed = dict(zip(names, (tensor.numpy() for tensor in arguments), strict=True))
        for actual, output in zip(session.run(None, feed), expected, strict=True):
            assert relative_l2(torch.from_numpy(actual), output).max() < 1e-5


def _outputs(network, arguments):
    outputs = network(*arguments)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_complex_graphs_are_refused(spec):
    class Fft(nn.Module):
        def forward(self, *inputs):
            return torch.fft.irfft(torch.fft.rfft(inputs[0]))

    with pytest.raises(ExportError, match="complex"):
        export_program(Fft(), spec, spec.examples(2)[0][: len(spec.inputs)])
