"""Error codes as HTTP and gRPC status, side by side; nobody else knows either."""

from typing import NamedTuple

import grpc

from certisolve_server.errors import ErrorCode


class Status(NamedTuple):
    """The same outcome in both protocols."""

    http: int
    grpc: grpc.StatusCode


_INVALID = grpc.StatusCode.INVALID_ARGUMENT

STATUS: dict[ErrorCode, Status] = {
    ErrorCode.MALFORMED_BODY: Status(400, _INVALID),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: Status(415, _INVALID),
    ErrorCode.BODY_TOO_LARGE: Status(413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ErrorCode.MISSING_INPUT: Status(422, _INVALID),
    ErrorCode.UNKNOWN_INPUT: Status(422, _INVALID),
    ErrorCode.WRONG_SHAPE: Status(422, _INVALID),
    ErrorCode.WRONG_DTYPE: Status(422, _INVALID),
    ErrorCode.NOT_FINITE: Status(422, _INVALID),
    ErrorCode.OUT_OF_RANGE: Status(422, grpc.StatusCode.OUT_OF_RANGE),
    ErrorCode.UNVALIDATED_RESOLUTION: Status(422, grpc.StatusCode.OUT_OF_RANGE),
    ErrorCode.UNKNOWN_PARAMETER: Status(422, _INVALID),
    ErrorCode.INVALID_OPTION: Status(422, _INVALID),
    ErrorCode.NOT_DIFFERENTIABLE: Status(422, _INVALID),
    ErrorCode.UNSUPPORTED_OPERATOR: Status(422, _INVALID),
    ErrorCode.POSSIBLY_DISCONTINUOUS: Status(422, _INVALID),
    ErrorCode.NOT_CERTIFIED: Status(422, _INVALID),
    ErrorCode.NOT_FOUND: Status(404, grpc.StatusCode.NOT_FOUND),
    ErrorCode.METHOD_NOT_ALLOWED: Status(405, grpc.StatusCode.UNIMPLEMENTED),
    ErrorCode.UNKNOWN_MODEL: Status(404, grpc.StatusCode.NOT_FOUND),
    ErrorCode.UNKNOWN_VERSION: Status(404, grpc.StatusCode.NOT_FOUND),
    ErrorCode.UNKNOWN_JOB: Status(404, grpc.StatusCode.NOT_FOUND),
    ErrorCode.UNKNOWN_SESSION: Status(404, grpc.StatusCode.NOT_FOUND),
    ErrorCode.SESSION_CONFLICT: Status(409, grpc.StatusCode.ABORTED),
    ErrorCode.SESSIONS_FULL: Status(429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ErrorCode.FORECAST_DIVERGED: Status(409, grpc.StatusCode.FAILED_PRECONDITION),
    ErrorCode.IDEMPOTENCY_CONFLICT: Status(409, grpc.StatusCode.ALREADY_EXISTS),
    ErrorCode.QUEUE_FULL: Status(429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ErrorCode.QUEUE_UNAVAILABLE: Status(503, grpc.StatusCode.UNAVAILABLE),
    ErrorCode.MODEL_NOT_READY: Status(503, grpc.StatusCode.UNAVAILABLE),
    ErrorCode.SHUTTING_DOWN: Status(503, grpc.StatusCode.UNAVAILABLE),
    ErrorCode.DEADLINE_EXCEEDED: Status(504, grpc.StatusCode.DEADLINE_EXCEEDED),
    ErrorCode.CANCELLED: Status(409, grpc.StatusCode.CANCELLED),
    ErrorCode.DEAD_LETTERED: Status(500, grpc.StatusCode.INTERNAL),
    ErrorCode.INTERNAL: Status(500, grpc.StatusCode.INTERNAL),
}
