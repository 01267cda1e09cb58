"""The bundled models as ONNX: exported by the zoo, served by onnxruntime."""

import subprocess
import sys
from pathlib import Path

import pytest

from certisolve_server.artifacts import scan
from certisolve_server.engines import load_engine, open_device

MODELS = ("burgers1d-fno", "kan-formula")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    build = [sys.executable, "-m", "certisolve_zoo", "build", *MODELS, "--format", "onnx"]
    subprocess.run([*build, "--out", str(out)], check=True, capture_output=True, timeout=100)
    return out


@pytest.mark.parametrize("name", MODELS)
def test_onnx_reproduces_the_golden_answers_at_every_resolution(
    name: str, repository: Path
) -> None:
    [artifact] = [a for a in scan(repository).artifacts if a.manifest.name == name]
    assert artifact.manifest.program.format == "onnx"
    loaded = load_engine(artifact, open_device("cpu"))
    assert len(loaded.paces) >= len(artifact.manifest.resolutions)
