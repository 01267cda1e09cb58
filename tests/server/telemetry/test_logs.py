"""Log lines that programs read."""

import json
import logging
import math
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from certisolve_server.telemetry.logs import JsonFormatter


def record(message: str, *args: object, exc_info: Any = None) -> logging.LogRecord:
    name = "certisolve_server.worker"
    return logging.LogRecord(name, logging.INFO, "loop.py", 1, message, args, exc_info)


def entry(message: str, *args: object) -> dict[str, Any]:
    line = JsonFormatter().format(record(message, *args))
    assert "\n" not in line
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def fields(message: str, *args: object) -> dict[str, Any]:
    return {k: v for k, v in entry(message, *args).items() if k not in ("time", "level", "logger")}


def test_an_event_becomes_one_object_with_its_fields() -> None:
    assert fields("batch_done model=%s batch_size=%d ms=%.1f", "double", 8, 2.25) == {
        "event": "batch_done",
        "model": "double",
        "batch_size": 8,
        "ms": 2.25,
    }


def test_time_is_iso_8601_in_utc() -> None:
    parsed = entry("started")
    time = datetime.fromisoformat(parsed["time"])
    assert time.utcoffset().total_seconds() == 0
    assert parsed["level"] == "info"
    assert parsed["logger"] == "certisolve_server.worker"


@pytest.mark.parametrize("value", ["two words", "a=b c=d", 'quotes " and \n newlines', "%s", ""])
def test_values_are_never_taken_apart(value: str) -> None:
    assert fields("refused fault=%s job=%s", value, "1") == {
        "event": "refused",
        "fault": value,
        "job": "1",
    }


def test_literals_and_compound_values_are_fields_too() -> None:
    assert fields("listening door=http address=%s:%d", "127.0.0.1", 8000) == {
        "event": "listening",
        "door": "http",
        "address": "127.0.0.1:8000",
    }


def test_advice_after_the_fields_is_the_message() -> None:
    assert fields("redis_without_aof url=%s jobs are lost; set appendonly yes", "redis://r") == {
        "event": "redis_without_aof",
        "url": "redis://r",
        "message": "jobs are lost; set appendonly yes",
    }


def test_fields_never_hide_what_every_line_has() -> None:
    assert fields("moved time=%s level=%s", "noon", "high") == {
        "event": "moved",
        "time_": "noon",
        "level_": "high",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_lacks_are_text(value: float) -> None:
    assert fields("measured ms=%s", value)["ms"] == str(value)


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("Started server process [%d]", (7,)),
        ("100%% done", ()),
        ("connection lost", ()),
        ("event key=%s and %s more", ("a", 3)),
        ("", ()),
        ("values %(a)s", ({"a": 1},)),
        ("event key=%(a)s", ({"a": 1},)),
    ],
)
def test_messages_of_other_libraries_keep_their_text(message: str, args: tuple[Any, ...]) -> None:
    expected = record(message, *args).getMessage()
    assert fields(message, *args) == {"event": "message", "message": expected}


def test_an_exception_is_text_in_the_same_object() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        line = JsonFormatter().format(record("solve_failed job=%s", "7", exc_info=sys.exc_info()))
    parsed = json.loads(line)
    assert "\n" not in line
    assert parsed["job"] == "7"
    assert "Traceback" in parsed["exception"]
    assert "ValueError: boom" in parsed["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_configured_logs_go_to_standard_error_from_their_level_on(form: str) -> None:
    program = (
        "import logging; from certisolve_server.telemetry import configure_logging;"
        f"configure_logging('info', {form!r}); log = logging.getLogger('certisolve_server.x');"
        "log.info('shown job=%s', 7); log.debug('hidden')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert run.stdout == ""
    [line] = run.stderr.splitlines()
    if form == "json":
        assert json.loads(line)["job"] == 7
    else:
        assert line.endswith("INFO certisolve_server.x shown job=7")
