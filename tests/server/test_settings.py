"""A server does what it was told, by flag, variable or default, or does not start."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from certisolve_server.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("CERTISOLVE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default_and_the_default_is_loopback():
    settings = load_settings()
    assert (settings.host, settings.port, settings.grpc_port) == ("127.0.0.1", 8000, 8001)
    assert settings.broker == "memory://"
    assert not settings.allow_remote


def test_a_variable_beats_the_default_and_a_flag_beats_the_variable(monkeypatch):
    monkeypatch.setenv("CERTISOLVE_PORT", "9000")
    assert load_settings().port == 9000
    assert load_settings(port=9001).port == 9001


def test_a_flag_that_was_not_given_leaves_the_variable_alone(monkeypatch):
    monkeypatch.setenv("CERTISOLVE_PORT", "9000")
    assert load_settings(port=None).port == 9000


def test_every_setting_has_its_variable(monkeypatch):
    values = load_settings(max_wait_s=7.0).model_dump()
    for name, value in values.items():
        monkeypatch.setenv(f"CERTISOLVE_{name.upper()}", str(value))
    assert load_settings().model_dump() == values


@pytest.mark.parametrize("name", ["CERTISOLVE_PROT", "CERTISOLVE_", "certisolve_prot"])
def test_a_variable_that_is_no_setting_stops_the_start(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name} is not a setting") as caught:
        load_settings()
    assert "CERTISOLVE_PORT" in str(caught.value)


def test_the_variable_of_the_client_is_no_mistake(monkeypatch):
    monkeypatch.setenv("CERTISOLVE_URL", "http://127.0.0.1:8000")
    load_settings()


def test_variables_of_other_programs_are_not_looked_at(monkeypatch):
    monkeypatch.setenv("PORT", "not a number")
    assert load_settings().port == 8000


MALFORMED = {
    "port": ["http", "-1", "65536", "80.5", ""],
    "grpc_port": ["70000"],
    "broker": ["rabbit://localhost", "memory", ""],
    "device": ["gpu", "cuda", "cuda:x", "CPU", "cuda:0 "],
    "allow_remote": ["perhaps"],
    "max_body_bytes": ["0", "256MB"],
    "max_queued_requests": ["0"],
    "max_queued_bytes": ["-1"],
    "max_queue_delay_ms": ["-1", "nan", "inf", "10001"],
    "max_state_bytes": ["-1", "1GB"],
    "max_wait_s": ["0", "nan", "inf"],
    "result_ttl_s": ["-5", "nan", "inf"],
    "num_threads": ["-1", "many"],
    "log_level": ["loud", "DEBUG", "info\n"],
}
CASES = [(name, value) for name, values in MALFORMED.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{n}={v!r}" for n, v in CASES])
def test_a_malformed_value_stops_the_start_and_names_the_flag(monkeypatch, name, value):
    says = rf"^--{name.replace('_', '-')} \(or CERTISOLVE_{name.upper()}\): "
    with pytest.raises(SettingsError, match=says):
        load_settings(**{name: value})
    monkeypatch.setenv(f"CERTISOLVE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=says):
        load_settings()


def test_a_flag_that_is_no_setting_stops_the_start():
    with pytest.raises(SettingsError, match="--prot"):
        load_settings(prot=1)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:0", "cuda:11"])
def test_devices_are_named_as_torch_names_them(device):
    assert load_settings(device=device).device == device


def test_a_path_may_come_as_text():
    assert load_settings(models="/srv/models").models == Path("/srv/models")


def test_settings_do_not_change_after_the_start():
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_no_file_in_the_working_directory_is_read(tmp_path):
    (tmp_path / ".env").write_text("CERTISOLVE_PORT=9999\n")
    assert load_settings().port == 8000


def test_every_setting_is_explained():
    for name in Settings.model_fields:
        assert f"    {name}: " in Settings.__doc__
