"""Calls to sessions as HTTP: method, path and headers."""

from urllib.parse import quote

from certisolve._calls import Call, Operation
from certisolve.wire import SAFETENSORS

_JSON = "application/json"
_PATH = "/v1/sessions"
#: Method, what follows the session's path, and the type of the reply.
_ROUTES: dict[Operation, tuple[str, str, str]] = {
    "open_session": ("POST", "", _JSON),
    "restore_session": ("POST", "", _JSON),
    "get_session": ("GET", "", _JSON),
    "observe": ("POST", "/observe", _JSON),
    "predict": ("POST", "/predict", SAFETENSORS),
    "snapshot": ("GET", "/state", SAFETENSORS),
    "close_session": ("DELETE", "", _JSON),
}


def session_route(call: Call) -> tuple[str, str, dict[str, str]]:
    """Method, path, and headers without terms.

    Raises:
        ValueError: the call is of no session.
    """
    if call.operation not in _ROUTES:
        raise ValueError(f"{call.operation} is no call to a session")
    method, rest, accept = _ROUTES[call.operation]
    path = f"{_PATH}/{quote(call.session_id, safe='')}" if call.session_id else _PATH
    return method, path + rest, {"Accept": accept}
