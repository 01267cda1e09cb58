"""What docker-compose.yml promises, and that `make up-local` starts the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from certisolve_server.settings import Settings
from compose_file import ComposeError, Process, Service, as_processes, levels, read_services

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("gateway", "worker-1", "worker-2")
#: What may differ between an argument in a container and here: hosts, ports and paths.
_PLACES = re.compile(
    r"127\.0\.0\.1|0\.0\.0\.0|redis(?=:\d)|gateway(?=:)|worker-\d(?=:)|\d{4,5}|/\S*"
)


@pytest.fixture
def processes(tmp_path: Path) -> list[Process]:
    return as_processes(read_services(ROOT / "docker-compose.yml", {}), ROOT, tmp_path)


def find(processes: list[Process], name: str) -> Process:
    return next(process for process in processes if process.name == name)


def option(argv: tuple[str, ...], name: str) -> str:
    return argv[argv.index(name) + 1]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_restarts_drains_and_runs_without_privileges(name: str) -> None:
    spec = SERVICES[name]
    assert spec["restart"] == "unless-stopped"
    assert spec["stop_grace_period"] == "30s"
    assert spec["cap_drop"] == ["ALL"]
    assert "build" in spec or spec["user"].split(":")[0] not in ("0", "root")
    assert all(port.startswith("127.0.0.1:") for port in spec["ports"])


@pytest.mark.parametrize("name", ["redis", "prometheus"])
def test_images_that_are_not_ours_have_their_health_checked_and_a_version(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert re.search(r":v?\d", SERVICES[name]["image"])


def test_redis_loses_nothing_it_accepted() -> None:
    command = tuple(SERVICES["redis"]["command"])
    assert option(command, "--appendonly") == "yes"
    assert option(command, "--appendfsync") == "always"
    assert option(command, "--maxmemory-policy") == "noeviction"
    assert f"redis-data:{option(command, '--dir')}" in SERVICES["redis"]["volumes"]


_KEPT_IN_REDIS = ("QUEUED", "RESULT", "SESSION")


def test_redis_has_twice_the_memory_of_the_bounds() -> None:
    [settings] = {tuple(SERVICES[name]["environment"].items()) for name in OURS}
    bounds = dict(settings)
    most = sum(int(bounds[f"CERTISOLVE_MAX_{what}_BYTES"]) for what in _KEPT_IN_REDIS)
    maxmemory = option(tuple(SERVICES["redis"]["command"]), "--maxmemory")
    assert int(maxmemory.removesuffix("gb")) << 30 == 2 * most


def test_workers_drain_before_they_are_killed() -> None:
    worker = find_service("worker-1")
    connections_s = traces_s = 5.0
    drain_s = float(worker.environment["CERTISOLVE_DRAIN_S"])
    assert drain_s + connections_s + traces_s <= worker.grace_s


def test_workers_differ_in_name_and_place_only() -> None:
    first, second = (
        [argument.replace(name, "worker") for argument in SERVICES[name]["command"]]
        for name in ("worker-1", "worker-2")
    )
    assert first == second


@pytest.mark.parametrize("name", OURS)
def test_every_environment_variable_is_a_setting(name: str) -> None:
    known = {f"CERTISOLVE_{field.upper()}" for field in Settings.model_fields}
    assert set(SERVICES[name]["environment"]) <= known


def test_prometheus_scrapes_every_process_of_ours() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    targets = {target for static in job["static_configs"] for target in static["targets"]}
    assert targets == {f"{name}:8000" for name in OURS}


def test_plain_processes_differ_from_containers_in_hosts_ports_and_paths_only(
    processes: list[Process],
) -> None:
    assert [process.name for process in processes] == [s.name for s in services()]
    for process in processes:
        containers = process.service.command
        assert len(process.argv) == len(containers)
        for here, there in zip(process.argv, containers, strict=True):
            assert _PLACES.sub("", here) == _PLACES.sub("", there)
        assert process.service.environment == environment(process.name)


def test_plain_processes_listen_where_containers_are_published(processes: list[Process]) -> None:
    for process in processes:
        listening = {int(port) for port in re.findall(r"\b\d{4,5}\b", " ".join(process.argv))}
        assert {port.published for port in process.service.ports} <= listening
        assert "0.0.0.0" not in " ".join(process.argv)


def test_plain_processes_find_each_other(processes: list[Process]) -> None:
    assert option(find(processes, "gateway").argv, "--broker") == "redis://127.0.0.1:6379/0"
    worker = find(processes, "worker-2").argv
    assert option(worker, "--advertise") == f"127.0.0.1:{option(worker, '--grpc-port')}"
    [scraped] = find(processes, "prometheus").files.values()
    assert all(f"127.0.0.1:{port}" in scraped for port in (8000, 8010, 8020))


def test_plain_processes_keep_their_data_in_the_folder_given(
    processes: list[Process], tmp_path: Path
) -> None:
    redis, prometheus = find(processes, "redis"), find(processes, "prometheus")
    assert option(redis.argv, "--dir") == str(tmp_path / "redis-data")
    assert redis.folders == (tmp_path / "redis-data",)
    assert list(prometheus.files) == [tmp_path / "prometheus.yml"]
    assert f"--config.file={tmp_path / 'prometheus.yml'}" in prometheus.argv


def test_a_variable_moves_a_port_everywhere(tmp_path: Path) -> None:
    variables = {"REDIS_PORT": "7001", "WORKER_1_GRPC_PORT": "7002"}
    moved = as_processes(read_services(ROOT / "docker-compose.yml", variables), ROOT, tmp_path)
    assert option(find(moved, "redis").argv, "--port") == "7001"
    assert option(find(moved, "gateway").argv, "--broker") == "redis://127.0.0.1:7001/0"
    assert option(find(moved, "worker-1").argv, "--advertise") == "127.0.0.1:7002"


def test_redis_starts_first_and_ends_last() -> None:
    assert [[service.name for service in level] for level in levels(services())] == [
        ["redis"],
        ["gateway", "worker-1", "worker-2"],
        ["prometheus"],
    ]


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ('command: ["x", "--peer=b:1"]', "not published"),
        ('command: "x --port 1"', "as a list"),
        ('ports: ["1:1"]', "is not published as 127.0.0.1"),
        ("depends_on: {a: {condition: service_started}}", "circle"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(
    tmp_path: Path, service: str, fault: str
) -> None:
    path = tmp_path / "compose.yml"
    path.write_text(f"services:\n  b:\n    ports: ['127.0.0.1:2:2']\n  a:\n    {service}\n")
    with pytest.raises(ComposeError, match=fault):
        as_processes(read_services(path, {}), tmp_path, tmp_path)


def services() -> list[Service]:
    return read_services(ROOT / "docker-compose.yml", {})


def find_service(name: str) -> Service:
    return next(service for service in services() if service.name == name)


def environment(name: str) -> dict[str, str]:
    """As Compose fills it in when no variable is set."""
    spec = SERVICES[name].get("environment", {})
    return {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in spec.items()}
