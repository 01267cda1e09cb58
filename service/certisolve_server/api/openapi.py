"""What the OpenAPI document says beyond the routes' signatures."""

from typing import Any

from certisolve import wire
from certisolve.sequence import SAFETENSORS_SEQ

from . import schemas
from .events import EVENT_STREAM
from .terms import DEADLINE_HEADER, KEY_HEADER, PRIORITY_HEADER, TENANT_HEADER, TRACE_HEADER

_Responses = dict[int | str, dict[str, Any]]

JSON_TYPE = "application/json"
TENSORS: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_STRING = {"type": "string"}


def reference(name: str) -> dict[str, Any]:
    """Content that is what the schema of that name says."""
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def problem(description: str, *, retry: bool = False) -> dict[str, Any]:
    """A response with a problem document; `retry`: that says when to come again."""
    response: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": reference("Problem")},
    }
    if retry:
        response["headers"] = {"Retry-After": _header("Seconds, rounded up.", "integer")}
    return response


_NO_JOB = problem("No such job, or its result was forgotten")
_OUT_OF_REACH = problem("The queue is out of reach", retry=True)
_INVALID = problem("A parameter is malformed")

MODELS: _Responses = {200: {"model": schemas.ModelList}}
MODEL: _Responses = {200: {"model": schemas.ModelInfo}, 404: problem("No such model or version")}
JOB: _Responses = {200: {"model": schemas.Job}, 404: _NO_JOB, 503: _OUT_OF_REACH}
JOB_RESULT: _Responses = {
    200: {
        "description": "Where it stands; with its result when it succeeded",
        "model": schemas.JobReply,
        "content": {wire.SAFETENSORS: TENSORS},
    },
    404: _NO_JOB,
    422: _INVALID,
    503: _OUT_OF_REACH,
}
JOB_EVENTS: _Responses = {
    200: {
        "description": "`status` with the job whenever status, position or progress changes; of a "
        "certification also `bound`, with the best `certificate` so far, when it got better; last "
        "`succeeded`, `failed` or `cancelled`, or `problem` when the job can be followed no "
        "longer. The data of `succeeded` has the `location` of the result.",
        "content": {EVENT_STREAM: {"schema": _STRING}},
    },
    404: _NO_JOB,
    503: _OUT_OF_REACH,
}
READY: _Responses = {
    200: {"model": schemas.Readiness},
    503: {"description": "Not yet, or not now", "model": schemas.Readiness},
}


def _header_parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", **schema},
    }


SOLVE: dict[str, Any] = {
    "tags": ["solve"],
    "summary": "Solve",
    "description": "The solution for an initial condition or coefficient. Tensors travel as nested "
    'lists, as `{"shape", "dtype", "data": <base64>}`, or, fastest, as safetensors whose metadata '
    "key `certisolve` holds the rest of the body as JSON.",
    "parameters": [
        {"name": "model", "in": "path", "required": True, "schema": _STRING},
        _header_parameter(
            DEADLINE_HEADER,
            "Milliseconds after which the answer is no longer wanted.",
            type="integer",
            minimum=1,
        ),
        _header_parameter(
            "Prefer",
            "`respond-async` answers at once with a job; `wait=N` answers with one after N seconds "
            "(RFC 7240).",
        ),
        _header_parameter(
            KEY_HEADER,
            "The same request under the same key is the same job; its result is kept.",
            minLength=1,
            maxLength=255,
        ),
        _header_parameter(
            TENANT_HEADER,
            "On whose account; tenants share the devices equally.",
            pattern="^[A-Za-z0-9._-]{1,64}$",
            default="default",
        ),
        _header_parameter(
            PRIORITY_HEADER,
            "Among the jobs of the tenant.",
            enum=["high", "normal", "low"],
            default="normal",
        ),
        _header_parameter(TRACE_HEADER, "W3C trace context; passed over when malformed."),
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/SolveBody"},
                        {"type": "object", "properties": {"inputs": {"type": "object"}}},
                    ]
                },
                "example": schemas.solve_example(),
            },
            wire.SAFETENSORS: TENSORS,
        },
    },
    "responses": {
        "200": {
            "description": "Fields",
            "headers": {"Preference-Applied": _header("What of `Prefer` was followed.")},
            "content": {JSON_TYPE: reference("SolveReply"), wire.SAFETENSORS: TENSORS},
        },
        "202": {
            "description": "A job: it was preferred, or the wait was over before the solve was",
            "headers": {
                "Location": _header("Of the job."),
                "Preference-Applied": _header("What of `Prefer` was followed."),
            },
            "content": {JSON_TYPE: reference("Job")},
        },
        "404": problem("No such model or version"),
        "409": problem("The idempotency key was used for another request, or its job cancelled"),
        "422": problem("What is wrong with the request, and how to mend it"),
        "429": problem("Too much is waiting", retry=True),
        "503": problem("The model is not loaded, or the queue is out of reach", retry=True),
        "504": problem("The deadline passed; the detail says where the time went"),
        "4XX": problem("What is wrong and how to mend it"),
        "5XX": problem("What went wrong"),
    },
}

_NOT_OF_STREAMS = ("Prefer", KEY_HEADER)

SOLVE_STREAM: dict[str, Any] = {
    **SOLVE,
    "summary": "Solve, and tell each frame as it is computed",
    "description": "As a solve; the answer comes in parts. Server-sent events: `start` with model, "
    "axes, coordinates and the times of the frames; a `frame` for each, with `index`, `step`, `t` "
    "and `fields`; last a `summary`, which is a solve's reply without fields, or an `error` with a "
    "problem document; comments in silence. As safetensors: documents, each behind its length in 8 "
    "bytes, little-endian, whose metadata key `certisolve` holds the same, with the event's name "
    "under `event`; a length of 0 in silence. A client that goes away ends the computation.",
    "parameters": [each for each in SOLVE["parameters"] if each["name"] not in _NOT_OF_STREAMS],
    "responses": {
        **{code: each for code, each in SOLVE["responses"].items() if code not in ("202", "409")},
        "200": {
            "description": "Accepted; parts as they come",
            "content": {EVENT_STREAM: {"schema": _STRING}, SAFETENSORS_SEQ: TENSORS},
        },
    },
}

#: Named in `SOLVE` and in the descriptions above, beside those of the routes.
SCHEMAS = (schemas.SolveBody, schemas.SolveReply, schemas.Job, schemas.Problem)
