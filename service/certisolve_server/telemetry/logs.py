"""Log lines: time, level, logger, event name and key=value, as text or as JSON."""

import functools
import itertools
import json
import logging
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EVENT = re.compile(r"[a-z][a-z0-9_]*")
_PAIR = re.compile(r"([A-Za-z_]\w*)=(\S+)")
_PLACEHOLDER = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[sdifgeGErxXc]")
_OWN_KEYS = frozenset({"time", "level", "logger", "event", "message", "exception"})


def configure_logging(level: str, form: Literal["text", "json"] = "text") -> None:
    """Send the log to standard error.

    Args:
        level: debug, info, warning or error.
        form: `json` for one object per line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    # What it says at INFO, the banner says better.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.basicConfig(level=level.upper(), handlers=[handler])


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, event, then the event's fields.

    A record that is no event, of another library, has the event `message` and its text beside it.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        entry |= _fields(record)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _Pair(NamedTuple):
    """A key of an event.

    Attributes:
        value: template of its value.
        num_args: how many arguments the template takes.
    """

    key: str
    value: str
    num_args: int


class _Template(NamedTuple):
    """An event.

    Attributes:
        advice: words after the pairs, for people.
        num_args: how many arguments the pairs take.
    """

    event: str
    pairs: tuple[_Pair, ...]
    advice: str
    num_args: int


def _fields(record: logging.LogRecord) -> dict[str, object]:
    template = _parse(record.msg) if isinstance(record.msg, str) else None
    args = record.args if isinstance(record.args, tuple) else None
    if template is None or args is None or len(args) != template.num_args:
        return {"event": "message", "message": record.getMessage()}
    advice = {"message": template.advice} if template.advice else {}
    return {"event": template.event, **dict(_values(template, args)), **advice}


@functools.lru_cache(maxsize=1024)  # other libraries' messages are not always constants
def _parse(message: str) -> _Template | None:
    """The event and its keys, read from the format string; None if it is no event."""
    event, *words = message.split() or [""]
    matches = list(itertools.takewhile(bool, map(_PAIR.fullmatch, words)))
    advice = " ".join(words[len(matches) :])
    templates = "".join(match[2] for match in matches if match)
    if not _EVENT.fullmatch(event) or "%" in _PLACEHOLDER.sub("", templates) + advice:
        return None
    if advice and not matches:
        return None
    pairs = tuple(_pair(match[1], match[2]) for match in matches if match)
    return _Template(event, pairs, advice, sum(pair.num_args for pair in pairs))


def _pair(key: str, value: str) -> _Pair:
    return _Pair(f"{key}_" if key in _OWN_KEYS else key, value, len(_PLACEHOLDER.findall(value)))


def _values(template: _Template, args: tuple[object, ...]) -> Iterator[tuple[str, object]]:
    start = 0
    for pair in template.pairs:
        own = args[start : start + pair.num_args]
        start += pair.num_args
        whole = pair.num_args == 1 and _PLACEHOLDER.fullmatch(pair.value)
        yield pair.key, _plain(own[0]) if whole else pair.value % own


def _plain(value: object) -> object:
    """Numbers as numbers, everything else as its text; JSON has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) else str(value)
