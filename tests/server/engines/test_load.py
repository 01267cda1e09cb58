"""Artifacts become engines, or are refused with a reason."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from certisolve.manifest import Manifest, Program, TensorSpec
from certisolve_server.artifacts import read_artifact
from certisolve_server.engines import LoadedEngine, Pace, ProgramError, load_engine, open_device
from certisolve_server.jobs import Lane
from helpers import Pointwise, field_manifest, parameter, seal, write_artifact

CPU = open_device("cpu")


def load(directory: Path, device: str = "cpu") -> LoadedEngine:
    return load_engine(read_artifact(directory), open_device(device))


def test_every_row_of_a_batch_is_its_own_request(tmp_path: Path) -> None:
    engine = load(write_artifact(tmp_path, Pointwise(lambda u: 2 * u), field_manifest("double")))
    rows = [np.full(16, value, np.float32) for value in (1, 2, 3)]
    step = engine.engine.launch([rows]).wait()
    np.testing.assert_array_equal(step.outputs[0], 2 * np.stack(rows))
    assert step.batch_ms >= 0
    assert step.compute_ms > 0


def test_parameters_reach_the_program_after_the_inputs(tmp_path: Path) -> None:
    manifest = field_manifest("scale", parameters=(parameter("gain", 0.0, 9.0, 1.0),))
    scale = Pointwise(lambda u, gain: u * gain[:, None])
    engine = load(write_artifact(tmp_path, scale, manifest)).engine
    rows = [np.ones(16, np.float32)] * 2
    step = engine.launch([rows, [np.float32(3), np.float32(5)]]).wait()
    np.testing.assert_array_equal(step.outputs[0][:, 0], [3.0, 5.0])


def test_a_pace_is_measured_for_every_validated_resolution(tmp_path: Path) -> None:
    manifest = field_manifest("double", max_batch_size=8)
    loaded = load(write_artifact(tmp_path, Pointwise(lambda u: 2 * u), manifest))
    assert loaded.paces.keys() == {((16,),), ((32,),)}
    assert all(1 <= pace.max_batch_size <= 8 for pace in loaded.paces.values())
    assert all(0 < pace.expected_s(3) < 1 for pace in loaded.paces.values())
    assert loaded.pace(((64,),)) == Pace(8, {})
    assert loaded.pace(((64,),)).expected_s(1) == math.inf


def test_steps_have_any_size_on_a_processor_and_few_on_a_device_that_pads(tmp_path: Path) -> None:
    manifest = field_manifest("double", max_batch_size=6)
    loaded = load(write_artifact(tmp_path, Pointwise(lambda u: 2 * u), manifest))
    lane = Lane(loaded.engine.artifact.key, ((64,),), ("<f4",))
    assert loaded.batch_sizes(lane) == (1, 2, 3, 4, 5, 6)
    loaded.engine.device.padded = lambda size: 1 << (size - 1).bit_length()  # type: ignore[method-assign]  # as a GPU
    # Never more than the manifest allows.
    assert loaded.batch_sizes(lane) == (1, 2, 4, 6)


def test_a_program_that_misses_its_golden_values_is_refused(tmp_path: Path) -> None:
    manifest = field_manifest("double")
    directory = write_artifact(tmp_path, Pointwise(lambda u: 2 * u), manifest)
    golden = load_file(directory / "golden.safetensors")
    golden["x=32/outputs/u"] *= 1.001
    save_file(golden, directory / "golden.safetensors")
    seal(directory, manifest)
    with pytest.raises(ProgramError, match=r"x=32: u is off its golden value by 9.99e-04"):
        load(directory)


def test_nan_is_never_a_golden_value(tmp_path: Path) -> None:
    manifest = field_manifest("root")
    directory = write_artifact(tmp_path, Pointwise(lambda u: torch.sqrt(u - 1)), manifest)
    with pytest.raises(ProgramError, match="golden"):
        load(directory)


def test_a_program_of_another_arity_is_refused(tmp_path: Path) -> None:
    manifest = field_manifest("double")
    directory = write_artifact(tmp_path, Pointwise(lambda u: 2 * u), manifest)
    second = TensorSpec(name="v", dtype="F32", axes=("x",), description="a second output")
    seal(directory, field_manifest("double", outputs=(*manifest.outputs, second)))
    with pytest.raises(ProgramError, match="1 outputs"):
        load(directory)


def test_an_onnx_program_answers_like_the_torch_program(tmp_path: Path) -> None:
    manifest = field_manifest("tanh")
    directory = write_artifact(tmp_path, Pointwise(torch.tanh), manifest)
    torch_engine = load(directory).engine
    onnx_engine = load(_as_onnx(tmp_path)).engine
    rows = [np.linspace(-1, 1, 32, dtype=np.float32)] * 3
    expected = torch_engine.launch([rows]).wait().outputs[0]
    actual = onnx_engine.launch([rows]).wait().outputs[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)  # two tanh, one float32 rounding each


def test_outputs_outlive_the_session_that_made_them(tmp_path: Path) -> None:
    engine = load(_as_onnx(tmp_path)).engine
    rows = [np.linspace(-1, 1, 32, dtype=np.float32)]
    first = engine.launch([rows]).wait().outputs[0]
    kept = first.copy()
    for _ in range(20):
        engine.launch([[np.zeros(32, np.float32)] * 8]).wait()
    np.testing.assert_array_equal(first, kept)


def test_a_broken_onnx_file_is_refused(tmp_path: Path) -> None:
    directory = _as_onnx(tmp_path)
    (directory / "program.onnx").write_bytes(b"not a graph")
    seal(directory, read_manifest(directory))
    with pytest.raises(ProgramError, match="onnxruntime cannot load it"):
        load(directory)


def test_there_is_no_device_beyond_the_last() -> None:
    with pytest.raises(ValueError, match="torch sees"):
        open_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_answers_like_the_cpu(tmp_path: Path) -> None:
    directory = write_artifact(tmp_path, Pointwise(torch.tanh), field_manifest("tanh"))
    rows = [np.linspace(-1, 1, 32, dtype=np.float32)] * 3
    expected = load(directory).engine.launch([rows]).wait().outputs[0]
    actual = load(directory, "cuda:0").engine.launch([rows]).wait().outputs[0]
    np.testing.assert_allclose(actual[:3], expected, rtol=1e-5)


def read_manifest(directory: Path) -> Manifest:
    return Manifest.from_json((directory / "manifest.json").read_bytes())


def _as_onnx(root: Path) -> Path:
    """The model tanh as ONNX, made without onnx's exporter stack."""
    from onnx import TensorProto, helper

    manifest = field_manifest(
        "tanh-onnx", program=Program(format="onnx", file="program.onnx"), files={"program.onnx": ""}
    )
    directory = write_artifact(root, Pointwise(torch.tanh), field_manifest("tanh-onnx"))
    shape = ["batch", "x"]
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["u0"], ["u"])],
        "tanh",
        [helper.make_tensor_value_info("u0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (directory / "program.pt2").unlink()
    (directory / "program.onnx").write_bytes(model.SerializeToString())
    seal(directory, manifest)
    return directory
