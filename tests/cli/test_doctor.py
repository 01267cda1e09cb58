import json
import socket

import pytest


@pytest.fixture
def ports(free_port):
    return ("--port", free_port, "--grpc-port", free_port)


def _findings(result):
    return {(f["section"], f["name"]): f for f in json.loads(result.stdout)}


def test_a_machine_that_can_serve_is_told_so(call, small_models, ports):
    result = call("doctor", "--models", small_models, *ports)
    assert result.exit_code == 0, result.output
    for text in ("torch", "compute threads", "is free", "double/1"):
        assert text in result.stdout


def test_json_lists_every_finding(call, small_models, ports):
    found = _findings(call("doctor", "--json", "--models", small_models, *ports))
    assert found["repository", "double/1"]["level"] == "ok"
    assert found["software", "torch"]["level"] == "ok"
    assert found["devices", "cpu"]["level"] == "ok"


def test_a_missing_repository_is_an_error_with_a_remedy(call, tmp_path, ports):
    result = call("doctor", "--json", "--models", tmp_path / "none", *ports)
    assert result.exit_code == 1
    found = _findings(result)["repository", str(tmp_path / "none")]
    assert found["level"] == "error"
    assert "make models" in found["fix"]


def test_a_broken_artifact_is_named(call, small_models, tmp_path, ports):
    (tmp_path / "double").symlink_to(small_models / "double")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "manifest.json").write_text("{}")
    result = call("doctor", "--json", "--models", tmp_path, *ports)
    assert result.exit_code == 0, result.output
    assert _findings(result)["repository", "broken/1"]["level"] == "warning"


def test_a_server_on_the_ports_is_recognised(call, server, small_models):
    port, grpc_port = server.http.rpartition(":")[2], server.grpc.rpartition(":")[2]
    ports = ("--port", port, "--grpc-port", grpc_port)
    result = call("doctor", "--json", "--models", small_models, *ports, "--url", server.http)
    assert result.exit_code == 0, result.output
    found = _findings(result)
    assert "a certisolve server answers" in found["ports", "HTTP"]["detail"]
    assert "a certisolve server answers" in found["ports", "gRPC"]["detail"]
    assert "double" in found["server", server.http]["detail"]


def test_a_port_taken_by_another_program_is_an_error(call, small_models, free_port):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        stranger.settimeout(0.1)
        flags = ("--port", taken, "--grpc-port", free_port)
        result = call("doctor", "--json", "--models", small_models, *flags)
    assert result.exit_code == 1
    assert "--port 0" in _findings(result)["ports", "HTTP"]["fix"]


def test_no_server_at_the_url_is_an_error(call, small_models, ports, nobody):
    result = call("doctor", "--models", small_models, *ports, "--url", nobody)
    assert result.exit_code == 1
    assert "no certisolve server answers" in result.stdout
