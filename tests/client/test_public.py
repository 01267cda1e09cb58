"""The one public door, and what opening it costs."""

import subprocess
import sys

import pytest

import certisolve
import certisolve.grpc


def run(program):
    """The output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_exported_names_agree_with_the_namespace():
    public = {
        name
        for name, value in vars(certisolve).items()
        if not name.startswith("_") and not hasattr(value, "__path__")
    }
    submodules = {"grpc", "manifest", "sequence", "v1", "wire"}
    assert public - submodules == set(certisolve.__all__)
    assert certisolve.__all__ == sorted(certisolve.__all__)
    assert all(hasattr(certisolve.grpc, name) for name in certisolve.grpc.__all__)


def test_import_brings_no_heavy_or_optional_package():
    heavy = ("grpc", "google.protobuf", "torch", "xarray", "pandas", "safetensors")
    program = f"import sys, certisolve; print([m for m in {heavy} if m in sys.modules])"
    assert run(program) == "[]"


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_grpc_without_its_packages_names_the_command(client):
    program = f"""
import sys
sys.modules["grpc"] = None
import certisolve
try:
    certisolve.{client}("grpc://127.0.0.1:8001")
except certisolve.MissingDependency as error:
    print(error)
"""
    assert "pip install 'certisolve[grpc]'" in run(program)


def test_xarray_missing_names_the_command():
    program = """
import sys
sys.modules["xarray"] = None
import certisolve, numpy
def answer(call):
    body = {"axes": {}, "t": [], "status": "ok", "batch_size": 1,
            "timings_ms": {"queue": 0, "batch": 0, "compute": 0},
            "model": {"name": "m", "version": "1", "digest": "d"}}
    return certisolve.Reply({}, body)
client = certisolve.Client("http://unused", transport=certisolve.MockTransport(answer))
try:
    client.solve("m", {}).to_xarray()
except certisolve.MissingDependency as error:
    print(error)
"""
    assert "pip install 'certisolve[xarray]'" in run(program)
