"""The terms of a request: headers over HTTP, metadata over gRPC, by the same names and rules."""

import re
from collections.abc import Mapping

from certisolve_server.errors import InvalidOption
from certisolve_server.jobs import Priority, Terms

DEADLINE_HEADER = "Certisolve-Deadline-Ms"
TENANT_HEADER = "Certisolve-Tenant"
PRIORITY_HEADER = "Certisolve-Priority"
KEY_HEADER = "Idempotency-Key"
TRACE_HEADER = "traceparent"

_PLAIN = Terms()
_NAMES = frozenset(
    name.lower()
    for name in (DEADLINE_HEADER, TENANT_HEADER, PRIORITY_HEADER, KEY_HEADER, TRACE_HEADER)
)
_MILLISECONDS = re.compile(r"[1-9][0-9]{0,11}")
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[ -~]{1,255}")
# W3C Trace Context: ids of zeros are invalid, and so is version ff; a later version may say more.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)


def read_terms(headers: Mapping[str, str], now: float, deadline: float | None = None) -> Terms:
    """The terms that `headers` name.

    Args:
        headers: by lower-case name; whatever else is in there is not looked at.
        now: Unix seconds.
        deadline: that the protocol itself sets; the earlier one counts.

    Raises:
        InvalidOption: a header is malformed; its field is the header's name.
    """
    if _NAMES.isdisjoint(headers):
        return _PLAIN if deadline is None else Terms(deadline)
    return Terms(
        deadline=_earlier(deadline, _deadline(headers.get("certisolve-deadline-ms"), now)),
        tenant=_tenant(headers.get("certisolve-tenant")),
        priority=_priority(headers.get("certisolve-priority")),
        idempotency_key=_key(headers.get("idempotency-key")),
        traceparent=_traceparent(headers.get("traceparent")),
    )


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _deadline(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise InvalidOption(
            "must be a whole number of milliseconds, 1 or more", field=DEADLINE_HEADER
        )
    return now + int(text) / 1e3


def _tenant(text: str | None) -> str:
    if text is None:
        return _PLAIN.tenant
    if not _TENANT.fullmatch(text):
        raise InvalidOption("must be 1 to 64 of: A-Z a-z 0-9 . _ -", field=TENANT_HEADER)
    return text


def _priority(text: str | None) -> Priority:
    if text is None:
        return _PLAIN.priority
    try:
        return Priority(text)
    except ValueError:
        allowed = ", ".join(Priority)
        raise InvalidOption(f"must be one of: {allowed}", field=PRIORITY_HEADER) from None


def _key(text: str | None) -> str:
    if text is None:
        return ""
    if not _KEY.fullmatch(text):
        raise InvalidOption("must be 1 to 255 printable ASCII characters", field=KEY_HEADER)
    return text


def _traceparent(text: str | None) -> str:
    # The standard has it that a malformed one counts as none.
    match = _TRACEPARENT.fullmatch(text) if text is not None and len(text) <= 512 else None
    if match is None or (match["more"] and match[0].startswith("00")):
        return ""
    return match[0]
