"""Every family proves itself on golden values before it serves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from certisolve.manifest import Program
from certisolve_server.artifacts import read_artifact
from certisolve_server.engines import LoadedEngine, ProgramError, load_engine, open_device
from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import Work
from family_models import (
    DRIFT_CHECKS,
    SIZE,
    drift_manifest,
    members_manifest,
    pendulum_manifest,
    recall_manifest,
    screened_manifest,
    three_recalls,
)
from helpers import Pointwise, field_manifest, seal, write_artifact

MANIFESTS = {
    "rollout": drift_manifest(checks=DRIFT_CHECKS),
    "memory-rollout": recall_manifest(),
    "feedback-ode": pendulum_manifest(),
    "iterative-solver": screened_manifest(),
    "map": members_manifest(),
}


def load(directory: Path) -> LoadedEngine:
    return load_engine(read_artifact(directory), open_device("cpu"))


def copied(models: Path, root: Path, manifest) -> Path:
    """The artifact of a manifest, to be changed."""
    directory = root / manifest.name / "1"
    directory.mkdir(parents=True)
    for path in (models / manifest.name / "1").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.mark.parametrize("family", MANIFESTS)
def test_an_artifact_reproduces_its_golden_values(family_models, family):
    loaded = load(family_models / MANIFESTS[family].name / "1")
    assert loaded.engine.artifact.manifest.family == family
    [(shapes, pace)] = loaded.paces.items()
    assert pace.max_batch_size >= 8
    # Only of a single pass does the batch size say how long it takes.
    assert (loaded.expected_s(shapes, 1) < 1) == (family == "map")


@pytest.mark.parametrize("family", MANIFESTS)
def test_golden_values_that_are_missed_are_refused(family_models, tmp_path, family):
    manifest = MANIFESTS[family]
    directory = copied(family_models, tmp_path, manifest)
    golden = load_file(directory / "golden.safetensors")
    name = next(key for key in golden if "/outputs/" in key)
    golden[name] = golden[name] * golden[name].dtype.type(1.001)
    save_file(golden, directory / "golden.safetensors")
    seal(directory, manifest)
    with pytest.raises(ProgramError, match="is off its golden value"):
        load(directory)


def test_a_rollout_without_golden_frames_is_refused(family_models, tmp_path):
    manifest = MANIFESTS["rollout"]
    directory = copied(family_models, tmp_path, manifest)
    golden = load_file(directory / "golden.safetensors")
    for name in [key for key in golden if "/outputs/" in key]:
        golden[name] = golden[name][:, :0]
    save_file(golden, directory / "golden.safetensors")
    seal(directory, manifest)
    with pytest.raises(ProgramError, match="golden case x=16"):
        load(directory)


def test_outputs_of_another_type_than_declared_are_refused(tmp_path):
    double = Pointwise(lambda u: 2 * u.double())
    with pytest.raises(ProgramError, match="u is float64"):
        load(write_artifact(tmp_path, double, field_manifest("double")))


def test_a_check_that_fails_or_tells_another_number_of_things_is_refused(family_models, tmp_path):
    manifest = replace(MANIFESTS["rollout"], checks=replace(DRIFT_CHECKS, names=("residual",)))
    directory = copied(family_models, tmp_path, manifest)
    seal(directory, manifest)
    with pytest.raises(ProgramError, match="the program failed"):
        load(directory)


@pytest.mark.parametrize("role", ["operator.pt2", "checks.pt2"])
def test_every_program_of_an_artifact_is_examined_before_it_is_read(family_models, tmp_path, role):
    manifest = MANIFESTS["iterative-solver" if role == "operator.pt2" else "rollout"]
    directory = copied(family_models, tmp_path, manifest)
    (directory / role).write_bytes(b"not an archive")
    seal(directory, manifest)
    with pytest.raises(ProgramError, match=role):
        load(directory)


def test_the_network_of_a_rollout_may_be_an_onnx_graph(tmp_path):
    engine = load(_recall_as_onnx(tmp_path)).engine
    histories = np.random.default_rng(0).uniform(size=(3, 5, SIZE)).astype(np.float32)
    expected = three_recalls(torch.from_numpy(histories))
    steps = [(1, 3), (2,), (3,)]
    jobs = [
        engine.job([history], Work(steps=each))
        for history, each in zip(histories, steps, strict=True)
    ]
    for row, (ended, own) in enumerate(zip(finish(engine, jobs), steps, strict=True)):
        for actual, output in zip(ended.outputs, expected, strict=True):
            frames = output[row, [step - 1 for step in own]]
            np.testing.assert_allclose(actual, frames, rtol=1e-6)


def _recall_as_onnx(root: Path) -> Path:
    """The model `recall` as ONNX, made without onnx's exporter stack."""
    from onnx import TensorProto, helper, numpy_helper

    manifest = recall_manifest(
        program=Program(format="onnx", file="program.onnx"), files={"program.onnx": ""}
    )
    directory = write_artifact(
        root,
        Pointwise(lambda u: u),
        replace(recall_manifest(), name="recall"),
        answer=three_recalls,
        example=(torch.zeros(2, SIZE),),
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["h", "zero"], ["fading"], axis=2),
            helper.make_node("Gather", ["h", "one"], ["count"], axis=2),
            helper.make_node("Mul", ["fading", "half"], ["halved"]),
            helper.make_node("Add", ["u", "halved"], ["u_next"]),
            helper.make_node("Add", ["count", "unit"], ["passes"]),
            helper.make_node("Unsqueeze", ["u_next", "last"], ["first_state"]),
            helper.make_node("Unsqueeze", ["passes", "last"], ["second_state"]),
            helper.make_node("Concat", ["first_state", "second_state"], ["h_next"], axis=2),
        ],
        "recall",
        [
            helper.make_tensor_value_info("u", TensorProto.FLOAT, ["batch", "x"]),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", "x", 2]),
        ],
        [
            helper.make_tensor_value_info("u_next", TensorProto.FLOAT, ["batch", "x"]),
            helper.make_tensor_value_info("passes", TensorProto.FLOAT, ["batch", "x"]),
            helper.make_tensor_value_info("h_next", TensorProto.FLOAT, ["batch", "x", 2]),
        ],
        [
            numpy_helper.from_array(np.array(0), "zero"),
            numpy_helper.from_array(np.array(1), "one"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.float32(0.5).reshape(()), "half"),
            numpy_helper.from_array(np.float32(1.0).reshape(()), "unit"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (directory / "program.pt2").unlink()
    (directory / "program.onnx").write_bytes(model.SerializeToString())
    seal(directory, manifest)
    return directory
