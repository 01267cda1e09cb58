"""Configuration: the only reader of the environment."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
DeviceName = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda:\d+)$")]
BrokerUrl = Annotated[str, StringConstraints(pattern=r"^memory://$")]


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
        broker: `memory://`.
        device: `auto` is the first GPU, else the CPU.
        allow_remote: listen beyond loopback although requests are not authenticated.
        max_body_bytes: most bytes of one request.
        max_queued_requests: most requests waiting or running before 429.
        max_queued_bytes: most bytes of inputs waiting or running before 429.
        max_queue_delay_ms: how long a batch may wait for company while the device is busy.
        max_wait_s: longest a caller is kept waiting without a deadline of its own.
        result_ttl_s: how long the result of an asynchronous job is kept.
        max_result_bytes: most bytes of results kept for asynchronous jobs.
        num_threads: compute threads of the CPU device; 0 leaves it to the libraries.
        log_level: debug, info, warning or error.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Port = 8000
    grpc_port: Port = 8001
    models: Path = Path("models/artifacts")
    broker: BrokerUrl = "memory://"
    device: DeviceName = "auto"
    allow_remote: bool = False
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 << 20
    max_queued_requests: Annotated[int, Field(ge=1)] = 4096
    max_queued_bytes: Annotated[int, Field(ge=1024)] = 2 << 30
    max_queue_delay_ms: Annotated[float, Field(ge=0, le=10_000)] = 2.0
    max_wait_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    result_ttl_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    max_result_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    num_threads: Annotated[int, Field(ge=0)] = 0
    log_level: Annotated[str, StringConstraints(pattern=r"^(debug|info|warning|error)$")] = "info"


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
