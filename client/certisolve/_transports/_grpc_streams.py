"""What both gRPC transports know of streams: where they end, and how long they may say nothing."""

from typing import Any

from certisolve._calls import Call
from certisolve._errors import RequestTimeout

#: Stands after the last message. Not None, which grpc.aio returns for bytes that are no message.
END: Any = object()


def silence_s(call: Call) -> float | None:
    """Longest wait for the next message; None for no limit but that of the whole stream."""
    return call.timeout_s if call.operation == "stream" else None


def silent(call: Call) -> RequestTimeout:
    """The exception for a stream that kept its reader waiting."""
    return RequestTimeout(f"{call.operation}: nothing came for {call.timeout_s:g} s")
