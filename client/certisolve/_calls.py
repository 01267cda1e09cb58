"""Builds calls and reads replies, without I/O: what both clients and all transports share.

The body of a call or reply is the JSON of the HTTP interface; other transports translate to it.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ._arguments import (
    Priority as Priority,
)
from ._arguments import check_name
from ._arrays import Array
from ._decode import decode
from ._errors import InvalidReply, ServerError, from_problem
from ._results import (
    Diagnostics,
    ModelInfo,
    ModelRef,
    Solution,
    Timings,
    WorkerInfo,
)
from .manifest import Manifest

Operation = Literal[
    "models",
    "model",
    "solve",
    "submit_solve",
    "stream",
    "jvp",
    "vjp",
    "certify",
    "submit_certify",
    "job",
    "watch_job",
    "cancel_job",
    "open_session",
    "restore_session",
    "get_session",
    "observe",
    "predict",
    "snapshot",
    "close_session",
]
#: Prefix of the tensors in a solve reply that are coordinates.
COORDS = "coords."

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, before any protocol.

    Attributes:
        operation: what is asked for.
        model: name; `model`, `solve` and `submit_solve` only.
        version: of the model; None for the newest.
        tensors: the inputs by name; of `jvp` and `vjp` also directions, as `tangents.<input>`,
            `parameter_tangents.<parameter>` and `cotangents.<output>`.
        body: what else a solve asks for: `parameters`, `t`, `steps`, `options`; absent keys mean
            defaults.
        timeout_s: seconds left for this attempt; None for no limit. For `watch_job`, how long one
            stream may last; for `stream`, how long it may be silent.
        tenant: on whose account, where something is computed. None for the server's default.
        priority: among the jobs of the tenant, where something is computed.
        idempotency_key: the server answers a second request under the same key with the job of the
            first; `solve` and `submit_solve` only. None for none.
        job_id: `job`, `watch_job` and `cancel_job` only.
        session_id: of the calls to a session that there is.
        data: `restore_session` only: the snapshot.
        wait_s: how long the server may wait for the job to end before it answers; `job` only.
    """

    operation: Operation
    model: str = ""
    version: str | None = None
    tensors: Mapping[str, Array] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    tenant: str | None = None
    priority: Priority = "normal"
    idempotency_key: str | None = None
    job_id: str = ""
    session_id: str = ""
    data: bytes = b""
    wait_s: float = 0.0

    @property
    def terms(self) -> dict[str, str]:
        """Tenant, priority and key by the names that HTTP headers and gRPC metadata share."""
        terms: dict[str, str] = {}
        if self.tenant is not None:
            terms["certisolve-tenant"] = self.tenant
        if self.priority != "normal":
            terms["certisolve-priority"] = self.priority
        if self.idempotency_key is not None:
            terms["idempotency-key"] = self.idempotency_key
        return terms


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, after any protocol.

    Attributes:
        tensors: fields by name, coordinates as `coords.<axis>`; read-only.
        body: the JSON of the HTTP interface's reply, or of its safetensors metadata.
    """

    tensors: Mapping[str, Array]
    body: Mapping[str, Any]


def build_models(timeout_s: float | None) -> Call:
    """The call that lists the models."""
    return Call(operation="models", timeout_s=timeout_s)


def build_model(model: str, version: str | None, timeout_s: float | None) -> Call:
    """The call that describes one model."""
    name = check_name("model", model)
    return Call(operation="model", model=name, version=version, timeout_s=timeout_s)


def check_timeout(timeout_s: float | None) -> float | None:
    """`timeout_s`, with infinity as None.

    Raises:
        ValueError: not positive.
    """
    if timeout_s is None or timeout_s == math.inf:
        return None
    if not timeout_s > 0:
        raise ValueError(f"timeout: must be a positive number of seconds, got {timeout_s}")
    return timeout_s


def check_tenant(tenant: str | None) -> str | None:
    """`tenant`, if it can travel.

    Raises:
        ValueError: not 1 to 64 letters, digits, dots, underscores and hyphens.
    """
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise ValueError(f"tenant: must be 1 to 64 of A-Z a-z 0-9 . _ -, got {tenant!r}")
    return tenant


def read_models(reply: Reply) -> list[ModelInfo]:
    """Every model in a listing.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("models"):
        return [_read_model(entry) for entry in reply.body["models"]]


def read_model(reply: Reply) -> ModelInfo:
    """The one model described.

    Raises:
        InvalidReply: the reply lacks something.
    """
    with reading("model"):
        return _read_model(reply.body)


def read_problem(
    problem: Mapping[str, Any], status: int | None = None, retry_after_s: float | None = None
) -> ServerError:
    """The exception for a problem document; the arguments fill in for missing members."""
    asked = problem.get("retry_after_s", retry_after_s)
    return from_problem(
        code=str(problem.get("code") or ""),
        detail=str(problem.get("detail") or problem.get("title") or "no detail given"),
        field=str(problem.get("field") or ""),
        retry_after_s=asked if isinstance(asked, int | float) else retry_after_s,
        status=status,
    )


def read_solution(tensors: Mapping[str, Array], body: Mapping[str, Any]) -> Solution:
    """The solution in the tensors and the JSON of a reply; to be called inside `reading`.

    Args:
        tensors: fields by name, coordinates as `coords.<axis>`.
        body: all else that is said of it.
    """
    axes, timings = body["axes"], body["timings_ms"]
    fields = {name: array for name, array in tensors.items() if not name.startswith(COORDS)}
    t = np.array(body["t"], np.float64)
    t.flags.writeable = False
    return Solution(
        fields=fields,
        axes={name: tuple(names) for name, names in axes.items()},
        t=t,
        coords={k[len(COORDS) :]: v for k, v in tensors.items() if k.startswith(COORDS)},
        status=body["status"],
        diagnostics=_read_diagnostics(body.get("diagnostics")),
        timings_ms=Timings(timings["queue"], timings["batch"], timings["compute"]),
        batch_size=body["batch_size"],
        model=read_model_ref(body["model"]),
    )


def read_model_ref(body: Mapping[str, Any]) -> ModelRef:
    """Which program answered; to be called inside `reading`."""
    return ModelRef(body["name"], body["version"], body["digest"])


def _read_diagnostics(body: Mapping[str, Any] | None) -> Diagnostics | None:
    if body is None:
        return None
    return Diagnostics(
        in_validated_range=body["in_validated_range"],
        resampled_from=body.get("resampled_from"),
        expected_error=body.get("expected_error"),
        out_of_range=tuple(body.get("out_of_range", ())),
        residual=body.get("residual"),
        conservation_defect=body.get("conservation_defect"),
        knot_excess=body.get("knot_excess"),
        noise_gain=body.get("noise_gain"),
        nfe=body.get("nfe"),
        rejected_steps=body.get("rejected_steps"),
    )


def _read_model(entry: Mapping[str, Any]) -> ModelInfo:
    return ModelInfo(
        name=entry["name"],
        version=entry["version"],
        digest=entry["digest"],
        ready=bool(entry["ready"]),
        # Not strict: a newer server may say more about its models than this release knows.
        manifest=decode(Manifest, entry["manifest"], strict=False),
        workers=tuple(_read_worker(worker) for worker in entry.get("workers") or ()),
    )


def _read_worker(body: Mapping[str, Any]) -> WorkerInfo:
    return WorkerInfo(str(body["name"]), str(body["device"]), str(body.get("grpc") or ""))


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what a reply lacks into one error.

    Args:
        what: was asked for.

    Raises:
        InvalidReply: the reply lacks something.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidReply(f"the {what} reply is not certisolve's: {error!r}") from error
