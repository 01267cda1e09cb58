"""Derivatives as messages of certisolve.v1."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from certisolve._arrays import Array
from certisolve._calls import Call, Reply
from certisolve._derivatives import (
    COTANGENTS,
    DERIVATIVES,
    PARAMETER_DERIVATIVES,
    PARAMETER_TANGENTS,
    TANGENTS,
)
from certisolve.v1 import solve_pb2
from certisolve.v1.tensor_pb2 import Tensor
from certisolve.wire import from_bytes

from ._grpc_tensors import encode_tensors


def encode_derivative(
    call: Call, encode_solve: Callable[[Call], solve_pb2.SolveRequest]
) -> solve_pb2.DerivativeRequest:
    """The message of a call, given how the solution in it is asked for."""
    role = TANGENTS if call.operation == "jvp" else COTANGENTS
    inputs, directions = _split(call.tensors, role)
    inputs, of_parameters = _split(inputs, PARAMETER_TANGENTS)
    return solve_pb2.DerivativeRequest(
        at=encode_solve(replace(call, tensors=inputs)),
        directions=encode_tensors(directions),
        parameter_directions=encode_tensors(of_parameters),
    )


def decode_derivative(
    message: solve_pb2.DerivativeReply, decode_solve: Callable[[solve_pb2.SolveReply], Reply]
) -> Reply:
    """The reply in a message, given how the solution in it is read."""
    solution = decode_solve(message.solution)
    tensors = {
        **solution.tensors,
        **_arrays(DERIVATIVES, message.derivatives),
        **_arrays(PARAMETER_DERIVATIVES, message.parameter_derivatives),
    }
    return Reply(tensors, solution.body)


def _split(tensors: Mapping[str, Array], prefix: str) -> tuple[dict[str, Array], dict[str, Array]]:
    """Those without a prefix, and those with it, by the rest of their names."""
    without, under = dict[str, Array](), dict[str, Array]()
    for name, array in tensors.items():
        if name.startswith(prefix):
            under[name.removeprefix(prefix)] = array
        else:
            without[name] = array
    return without, under


def _arrays(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {
        prefix + name: from_bytes(prefix + name, tensor.dtype, tuple(tensor.shape), tensor.data)
        for name, tensor in tensors.items()
    }
