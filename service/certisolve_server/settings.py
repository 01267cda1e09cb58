"""Configuration: the only reader of the environment."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
DeviceName = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda:\d+)$")]
BrokerUrl = Annotated[
    str, StringConstraints(pattern=r"^(memory://|(redis|rediss|unix)://[^\s/?]*(/\S*)?)$")
]
ProcessName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
Address = Annotated[str, StringConstraints(pattern=r"^(\S+:\d{1,5})?$")]
Endpoint = Annotated[str, StringConstraints(pattern=r"^(https?://\S+)?$")]


#: Where the client commands of the command line find a server.
URL_VARIABLE = "CERTISOLVE_URL"
_PREFIX = "CERTISOLVE_"


class SettingsError(Exception):
    """A setting is unknown or malformed; the message names it."""


class Settings(BaseSettings):
    """What a server may be told, by flag or as `CERTISOLVE_<NAME>`; anything else stops start-up.

    Attributes:
        host: address to listen on; beyond loopback only with `allow_remote`.
        port: HTTP; 0 picks a free one.
        grpc_port: gRPC; 0 picks a free one.
        models: the repository of artifacts, `<model>/<version>/manifest.json`.
        broker: `memory://` for `serve`, `redis://host:port/db` for `gateway` and `worker`.
        queue: prefix of the keys in Redis, so that several services can share one.
        name: of this process among the workers of a queue; host and process id when empty.
        advertise: host:port at which others reach this worker's gRPC; where it listens when empty.
        load: models to serve, separated by commas; all of the repository when empty.
        device: `auto` is the first GPU, else the CPU.
        allow_remote: listen beyond loopback although requests are not authenticated.
        max_body_bytes: most bytes of one request.
        max_queued_requests: most requests waiting or running before 429.
        max_queued_bytes: most bytes of inputs waiting or running before 429.
        max_queue_delay_ms: how long a batch may wait for company while the device is busy.
        max_state_bytes: most bytes on the device of requests that go on step by step; more wait.
        max_wait_s: longest a caller is kept waiting without a deadline of its own.
        result_ttl_s: how long the result of an asynchronous job is kept.
        max_result_bytes: most bytes of results kept for asynchronous jobs; beyond it, 429 for such.
        session_ttl_s: how long a session is kept without a call, where its caller names no time.
        max_session_bytes: most bytes of all sessions, of a fleet together; beyond it, 429.
        max_noise_gain: by which a session's forecast may amplify noise of measurements, where its
            caller names no limit.
        max_certify_s: longest search for a certificate.
        max_queued_certifications: most certifications waiting or running before 429.
        certify_concurrency: certifications a worker runs at a time, each in a process of its own; 0
            for a worker that runs none.
        certify_threads: compute threads of each; 0 leaves it to the libraries.
        max_certify_bytes: most memory of each; 0 for no limit.
        certificate_cache_bytes: most bytes of certificates that a gateway or a worker keeps to
            answer again.
        lease_s: silence after which a worker's jobs go to others; it speaks three times as often.
        max_deliveries: times a job may be running when its worker dies before it is put aside.
        drain_s: longest time a stopping worker is given to finish what is on its device.
        shared_memory: whether large fields between processes of one machine travel beside Redis.
        num_threads: compute threads of the CPU device; 0 leaves it to the libraries.
        log_level: debug, info, warning or error.
        log_format: `text`, or `json` for one object per line.
        otlp_endpoint: where traces go, `http://host:4318`; none are made when empty.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Port = 8000
    grpc_port: Port = 8001
    models: Path = Path("models/artifacts")
    broker: BrokerUrl = "memory://"
    queue: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "certisolve"
    name: ProcessName = ""
    advertise: Address = ""
    load: str = ""
    device: DeviceName = "auto"
    allow_remote: bool = False
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 << 20
    max_queued_requests: Annotated[int, Field(ge=1)] = 4096
    max_queued_bytes: Annotated[int, Field(ge=1024)] = 2 << 30
    max_queue_delay_ms: Annotated[float, Field(ge=0, le=10_000)] = 2.0
    max_state_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    max_wait_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    result_ttl_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    max_result_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    session_ttl_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    max_session_bytes: Annotated[int, Field(ge=1024)] = 256 << 20
    max_noise_gain: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1000.0
    max_certify_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    max_queued_certifications: Annotated[int, Field(ge=1)] = 256
    certify_concurrency: Annotated[int, Field(ge=0, le=256)] = 1
    certify_threads: Annotated[int, Field(ge=0)] = 1
    max_certify_bytes: Annotated[int, Field(ge=0)] = 8 << 30
    certificate_cache_bytes: Annotated[int, Field(ge=0)] = 64 << 20
    lease_s: Annotated[float, Field(ge=0.1, le=3600)] = 15.0
    max_deliveries: Annotated[int, Field(ge=1, le=100)] = 5
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 25.0
    shared_memory: bool = True
    num_threads: Annotated[int, Field(ge=0)] = 0
    log_level: Annotated[str, StringConstraints(pattern=r"^(debug|info|warning|error)$")] = "info"
    log_format: Literal["text", "json"] = "text"
    otlp_endpoint: Endpoint = ""


def load_settings(**flags: object) -> Settings:
    """Settings from flags, then the environment, then defaults.

    Args:
        flags: by field name; None counts as not given.

    Raises:
        SettingsError: a value is malformed, or an environment variable is not a setting.
    """
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | {URL_VARIABLE}
    ours = {name for name in os.environ if name.upper().startswith(_PREFIX)}
    unknown = sorted(name for name in ours if name.upper() not in known)
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(known))}")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise SettingsError(
            f"--{name.replace('_', '-')} (or {_PREFIX}{name.upper()}): {first['msg']}"
        ) from error
