import os
import subprocess
import sys

import pytest


def serve(*arguments, **environment):
    command = [sys.executable, "-m", "certisolve_server", "serve", "--port", "0"]
    return subprocess.run(
        [*command, "--grpc-port", "0", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def refused(*arguments, **environment):
    result = serve(*arguments, **environment)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.returncode, errors[0]


def test_the_banner_says_where_and_what_to_try(server, small_models):
    said = server.said()
    assert server.http in said
    assert server.grpc.removeprefix("grpc://") in said
    assert f"curl {server.http}/v1/models" in said


def test_help_does_not_load_the_machinery():
    code = (
        "import sys; from certisolve_server.cli import app; "
        "heavy = {'torch', 'fastapi', 'grpc', 'matplotlib', 'httpx'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_taken_port_is_one_line(server, small_models):
    code, line = refused("--models", small_models, "--port", server.http.rpartition(":")[2])
    assert code == 1
    assert "is taken" in line


def test_a_missing_repository_is_one_line(tmp_path):
    code, line = refused("--models", tmp_path / "none")
    assert code == 1
    assert "no such model repository" in line


def test_an_unknown_device_is_one_line(small_models):
    code, line = refused("--models", small_models, "--device", "cuda:99")
    assert code == 1
    assert "cuda:99" in line


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        (["--device", "tpu"], {}, "--device"),
        (["--log-level", "loud"], {}, "--log-level"),
        (["--max-body-bytes", "1"], {}, "--max-body-bytes"),
        (["--broker", "kafka://x"], {}, "--broker"),
        ([], {"CERTISOLVE_PROT": "1"}, "CERTISOLVE_PROT is not a setting"),
        ([], {"CERTISOLVE_NUM_THREADS": "many"}, "CERTISOLVE_NUM_THREADS"),
    ],
)
def test_a_bad_setting_is_one_line(call, monkeypatch, flags, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = call("serve", *flags)
    assert result.exit_code == 2
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("error ")
    assert says in line


def test_listening_beyond_loopback_needs_permission(small_models):
    code, line = refused("--models", small_models, "--host", "0.0.0.0")
    assert code == 1
    assert "--allow-remote" in line
