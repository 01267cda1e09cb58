"""What the OpenAPI document says of sessions beyond the routes' signatures."""

from typing import Any

from certisolve import wire

from . import session_schemas
from .openapi import JSON_TYPE, TENSORS, problem, reference

_Responses = dict[int | str, dict[str, Any]]

_NO_SESSION = problem("No such session, or it was closed or forgotten")
_INVALID = problem("What is wrong with the call, and how to mend it")
_CHANGED = problem("Another call changed the session, or its forecast diverged")
_FULL = problem("Sessions take all the memory they may, or too much is waiting", retry=True)
_OUT_OF_REACH = problem("The model is not loaded, or the store is out of reach", retry=True)
_LATE = problem("The deadline passed")

OPEN: _Responses = {
    201: {"description": "Where it stands", "model": session_schemas.Session},
    404: problem("No such model or version"),
    422: _INVALID,
    429: _FULL,
    503: _OUT_OF_REACH,
    504: _LATE,
}
SESSION: _Responses = {
    200: {"description": "Where it stands", "model": session_schemas.Session},
    404: _NO_SESSION,
    503: _OUT_OF_REACH,
}
OBSERVE: _Responses = {
    **SESSION,
    409: _CHANGED,
    422: _INVALID,
    429: _FULL,
    504: _LATE,
}
PREDICT: _Responses = {
    200: {
        "description": "The forecast, as of a solve",
        "content": {JSON_TYPE: reference("SolveReply"), wire.SAFETENSORS: TENSORS},
    },
    404: _NO_SESSION,
    422: _INVALID,
    429: _FULL,
    503: _OUT_OF_REACH,
    504: _LATE,
}
STATE: _Responses = {
    200: {"description": "A snapshot", "content": {wire.SAFETENSORS: TENSORS}},
    404: _NO_SESSION,
    503: _OUT_OF_REACH,
}
CLOSED: _Responses = {
    200: {"description": "It is forgotten", "model": session_schemas.Closed},
    404: _NO_SESSION,
    503: _OUT_OF_REACH,
}


def body_of(schema: str, *tensors: str) -> dict[str, Any]:
    """The body of a call: what `schema` says, and objects of tensors by name."""
    properties = {role: {"type": "object"} for role in tensors}
    whole = {
        "allOf": [
            {"$ref": f"#/components/schemas/{schema}"},
            {"type": "object", "properties": properties},
        ]
    }
    content = {JSON_TYPE: {"schema": whole}, wire.SAFETENSORS: TENSORS}
    return {"requestBody": {"required": True, "content": content}}


#: Named in `body_of`, beside those of the routes.
SCHEMAS = (
    session_schemas.OpenSessionBody,
    session_schemas.ObserveBody,
    session_schemas.PredictBody,
)
