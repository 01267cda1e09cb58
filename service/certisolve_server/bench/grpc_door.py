"""gRPC with messages serialised once."""

import asyncio
from collections.abc import Iterable
from typing import cast

import grpc
from google.rpc.status_pb2 import Status

from certisolve.v1 import solve_pb2
from certisolve.v1.problem_pb2 import Problem
from certisolve.v1.tensor_pb2 import Tensor
from certisolve.wire import dtype_name, to_bytes

from .door import AbstractConnection, AbstractDoor, Answer, SolveInputs

_SOLVE = "/certisolve.v1.SolverService/Solve"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Otherwise all connections of this process would share one socket.
    ("grpc.use_local_subchannel_pool", 1),
)
_CONNECT_TIMEOUT_S = 5.0
_DETAILS_KEY = "grpc-status-details-bin"


class GrpcDoor(AbstractDoor):
    """certisolve.v1.SolverService.Solve."""

    def __init__(self, host: str, port: int) -> None:
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def prepare(self, model: str, version: str | None, inputs: SolveInputs) -> bytes:
        tensors = {
            name: Tensor(dtype=dtype_name(array), shape=array.shape, data=bytes(to_bytes(array)))
            for name, array in inputs.arrays.items()
        }
        message = solve_pb2.SolveRequest(
            model=model, version=version or "", inputs=tensors, parameters=dict(inputs.parameters)
        )
        return message.SerializeToString()

    async def connect(self) -> "GrpcConnection":
        channel = grpc.aio.insecure_channel(self._target, _OPTIONS)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await _until_ready(channel)
        except OSError as error:
            await channel.close(None)
            raise ConnectionError(f"nobody answers at {self._target}") from error
        return GrpcConnection(channel)


class GrpcConnection(AbstractConnection):
    """One channel with a socket of its own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._solve = channel.unary_unary(
            _SOLVE, request_serializer=None, response_deserializer=solve_pb2.SolveReply.FromString
        )

    async def send(self, request: bytes) -> Answer:
        try:
            reply = await self._solve(request)
        except grpc.aio.AioRpcError as error:
            return Answer(_error_code(error))
        return Answer("ok", reply.batch_size)

    async def aclose(self) -> None:
        await self._channel.close(None)


async def _until_ready(channel: grpc.aio.Channel) -> None:
    # Not channel_ready(), which waits on after a refusal.
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise ConnectionRefusedError
        await channel.wait_for_state_change(state)
        state = channel.get_state()


def _error_code(error: grpc.aio.AioRpcError) -> str:
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            problem = Problem()
            if any(detail.Unpack(problem) for detail in Status.FromString(value).details):
                return problem.code
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return "connection_failed"
    return f"grpc_{error.code().name.lower()}"
