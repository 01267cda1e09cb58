"""One trace per solve, from the caller through gateway and queue to the batch it ran in."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from certisolve_server.jobs import ModelKey


class TracingUnavailable(Exception):
    """Spans cannot be exported; the message says what to do."""


class Tracing(ABC):
    """Where spans go. Contexts travel as W3C `traceparent` strings, empty for none."""

    @staticmethod
    def disabled() -> "Tracing":
        """Keeps no spans; a caller's context passes through."""
        return _Disabled()

    @staticmethod
    def open(endpoint: str, service_name: str, instance: str) -> "Tracing":
        """Exports spans in the background.

        Args:
            endpoint: of an OTLP collector over HTTP, `http://127.0.0.1:4318`; empty for disabled.
            service_name: gateway or worker.
            instance: which one of them.

        Raises:
            TracingUnavailable: the endpoint is no HTTP URL, or packages are missing.
        """
        if not endpoint:
            return Tracing.disabled()
        if not endpoint.startswith(("http://", "https://")):
            raise TracingUnavailable(
                f"{endpoint!r} is no OTLP endpoint; give http://HOST:4318 or https://HOST:4318"
            )
        try:
            from .otlp import OtlpTracing
        except ImportError as error:
            raise TracingUnavailable(
                f"tracing needs {error.name}: pip install 'certisolve-server[otel]'"
            ) from error
        return OtlpTracing(endpoint, service_name, instance)

    @abstractmethod
    def solve(self, model: str, traceparent: str) -> AbstractContextManager[str]:
        """A span around a solve; yields the context to send on with its job.

        Args:
            model: its name.
            traceparent: of the caller; one that is malformed counts as none.
        """

    @abstractmethod
    def batch(
        self,
        key: ModelKey,
        traceparents: Sequence[str],
        started_at: float,
        ended_at: float,
        batch_size: int,
        *,
        queue_ms: Sequence[float] = (),
        compute_ms: float | None = None,
    ) -> None:
        """One span per traced request of a finished batch, with links to its batch mates.

        Args:
            key: of the model.
            traceparents: what `solve` yielded, one per request; empty for those untraced.
            started_at: Unix seconds.
            ended_at: Unix seconds.
            batch_size: requests in the batch.
            queue_ms: per request, how long it waited, where that is known.
            compute_ms: of the forward pass, where that is known.
        """

    @abstractmethod
    def close(self) -> None:
        """Send what is left, for a few seconds at most."""


class _Disabled(Tracing):
    def solve(self, model: str, traceparent: str) -> AbstractContextManager[str]:
        return contextlib.nullcontext(traceparent)

    def batch(
        self,
        key: ModelKey,
        traceparents: Sequence[str],
        started_at: float,
        ended_at: float,
        batch_size: int,
        *,
        queue_ms: Sequence[float] = (),
        compute_ms: float | None = None,
    ) -> None:
        pass

    def close(self) -> None:
        pass
