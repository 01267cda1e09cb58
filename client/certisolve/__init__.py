"""Typed client of certisolve: fields and their error bars from trained surrogates of PDEs.

from certisolve import Client

with Client("http://127.0.0.1:8000") as client:
solution = client.solve("burgers1d-fno", {"u0": u0})
"""

from ._calls import Call as Call
from ._calls import Priority as Priority
from ._calls import Reply as Reply
from ._certificate import Certificate as Certificate
from ._certificate import Witness as Witness
from ._client import AsyncClient as AsyncClient
from ._client import Client as Client
from ._clock import Clock as Clock
from ._derivatives import Derivative as Derivative
from ._errors import Cancelled as Cancelled
from ._errors import CertisolveError as CertisolveError
from ._errors import ConnectionFailed as ConnectionFailed
from ._errors import DeadlineExceeded as DeadlineExceeded
from ._errors import ForecastDiverged as ForecastDiverged
from ._errors import IdempotencyConflict as IdempotencyConflict
from ._errors import InternalServerError as InternalServerError
from ._errors import InvalidReply as InvalidReply
from ._errors import InvalidRequest as InvalidRequest
from ._errors import MissingDependency as MissingDependency
from ._errors import NotFound as NotFound
from ._errors import Overloaded as Overloaded
from ._errors import PayloadTooLarge as PayloadTooLarge
from ._errors import RequestTimeout as RequestTimeout
from ._errors import ServerError as ServerError
from ._errors import SessionConflict as SessionConflict
from ._errors import TransportError as TransportError
from ._errors import Unavailable as Unavailable
from ._errors import from_problem as from_problem
from ._jobs import AsyncJob as AsyncJob
from ._jobs import Job as Job
from ._results import Diagnostics as Diagnostics
from ._results import Frame as Frame
from ._results import Improvement as Improvement
from ._results import JobInfo as JobInfo
from ._results import JobStatus as JobStatus
from ._results import ModelInfo as ModelInfo
from ._results import ModelRef as ModelRef
from ._results import Solution as Solution
from ._results import Timings as Timings
from ._results import WorkerInfo as WorkerInfo
from ._retry import RetryPolicy as RetryPolicy
from ._session_calls import SessionInfo as SessionInfo
from ._sessions import AsyncSession as AsyncSession
from ._sessions import Session as Session
from ._streams import AsyncStream as AsyncStream
from ._streams import Stream as Stream
from ._transports.base import AsyncTransport as AsyncTransport
from ._transports.base import Transport as Transport
from ._transports.http import AsyncHttpTransport as AsyncHttpTransport
from ._transports.http import HttpTransport as HttpTransport
from ._transports.mock import MockTransport as MockTransport
from .manifest import Manifest as Manifest

__all__ = [
    "AsyncClient",
    "AsyncHttpTransport",
    "AsyncJob",
    "AsyncSession",
    "AsyncStream",
    "AsyncTransport",
    "Call",
    "Cancelled",
    "Certificate",
    "CertisolveError",
    "Client",
    "Clock",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Derivative",
    "Diagnostics",
    "ForecastDiverged",
    "Frame",
    "HttpTransport",
    "IdempotencyConflict",
    "Improvement",
    "InternalServerError",
    "InvalidReply",
    "InvalidRequest",
    "Job",
    "JobInfo",
    "JobStatus",
    "Manifest",
    "MissingDependency",
    "MockTransport",
    "ModelInfo",
    "ModelRef",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "Priority",
    "Reply",
    "RequestTimeout",
    "RetryPolicy",
    "ServerError",
    "Session",
    "SessionConflict",
    "SessionInfo",
    "Solution",
    "Stream",
    "Timings",
    "Transport",
    "TransportError",
    "Unavailable",
    "Witness",
    "WorkerInfo",
    "from_problem",
]
