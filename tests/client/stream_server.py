"""The part of the contract that streams: frames of a scripted rollout, over both protocols."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import anyio.to_thread
import grpc
import numpy as np

from certisolve.sequence import SILENCE, pack
from certisolve.v1 import model_pb2, solve_pb2
from certisolve.wire import encode_safetensors

DT = 0.5

#: What is told and its arrays, by name; None for a while without anything.
Part = tuple[dict[str, Any], dict[str, np.ndarray]] | None


class StreamCut(Exception):
    """The connection of a stream breaks."""


def wanted_steps(request: Any) -> list[int]:
    """The steps whose frames are asked for: of three, unless the request says so."""
    last, every = request.steps or 3, request.save_every or 1
    steps = sorted({*range(every, last + 1, every), last})
    return [step for step in steps if step > (request.resume_from or 0)]


def parts(backend: Any, request: Any) -> Iterator[Part]:
    """The parts of one stream as they come; may break off.

    `double` tells frames of twice the input, times the step. `stuck` waits after the first,
    `silent` before it, until the backend is released. `failing` fails after the first, `diverging`
    ends after it.
    """
    backend.num_streams += 1
    cut = backend.cuts.pop(0) if backend.cuts else None
    digest = backend.digests.pop(0) if backend.digests else backend.digest
    try:
        for number, part in enumerate(_script(backend, request, digest)):
            if number == cut:
                raise StreamCut
            yield part
    finally:
        backend.closed_streams.release()


def _script(backend: Any, request: Any, digest: str) -> Iterator[Part]:
    [u0], steps = request.tensors.values(), wanted_steps(request)
    model = {"name": request.model, "version": request.version or "2", "digest": digest}
    x = np.arange(u0.shape[-1], dtype=np.float64) / u0.shape[-1]
    times = [step * DT for step in steps]
    start = {"model": model, "num_frames": len(steps), "t": times, "axes": {"u": ["x"]}}
    yield {"event": "start", **start}, {"coords.x": x}
    if request.model == "silent":
        yield from _wait(backend)
    for index, step in enumerate(steps):
        frame = {"event": "frame", "index": index, "step": step, "t": step * DT}
        yield frame, {"u": 2 * step * u0}
        if index == 0 and request.model == "stuck":
            yield from _wait(backend)
        if index == 0 and request.model == "failing":
            raise backend.failure
        if index == 0 and request.model == "diverging":
            times = times[:1]
            break
    yield {"event": "of_next_year"}, {}
    _, metadata = backend.answer(replace(request, tensors={"u0": u0}))
    status = "diverged" if request.model == "diverging" else "ok"
    told = {"t": times, "axes": {"u": ["t", "x"]}, "status": status, "model": model}
    yield {"event": "summary", **metadata, **told}, {"coords.x": x}


def _wait(backend: Any) -> Iterator[None]:
    while not backend.released.wait(0.02):
        yield None


# HTTP


async def sequence(told: Iterator[Part], refused: type[Exception]) -> AsyncIterator[bytes]:
    """The parts as documents; in pieces, with silences, and with a problem as the last one."""
    end = object()
    with contextlib.closing(told):  # type: ignore[type-var]  # a generator
        while True:
            try:
                part = await anyio.to_thread.run_sync(next, told, end)
            except refused as error:
                yield pack(encode_safetensors({}, {"event": "error", **error.problem}))  # type: ignore[attr-defined]
                return
            if part is end:
                return
            if part is None:
                yield SILENCE
                continue
            document = pack(encode_safetensors(part[1], part[0]))
            yield document[:5]
            yield document[5:]


# gRPC


def messages(told: Iterator[Part], context: Any, tensor: Any) -> Iterator[Any]:
    """The parts as messages, while the caller listens."""
    try:
        with contextlib.closing(told):  # type: ignore[type-var]  # a generator
            for part in told:
                if not context.is_active():
                    return
                if part is not None:
                    yield _message(*part, tensor)
    except StreamCut:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def _message(body: dict[str, Any], tensors: dict[str, np.ndarray], tensor: Any) -> Any:
    arrays = {name.removeprefix("coords."): tensor(array) for name, array in tensors.items()}
    match body["event"]:
        case "start":
            start = solve_pb2.SolveStart(
                model=model_pb2.ModelRef(**body["model"]),
                num_frames=body["num_frames"],
                t=body["t"],
                axes=_axes(body),
                coords=arrays,
            )
            return solve_pb2.SolveStreamReply(start=start)
        case "frame":
            frame = {key: body[key] for key in ("index", "step", "t")}
            return solve_pb2.SolveStreamReply(frame=solve_pb2.SolveFrame(**frame, fields=arrays))
        case "summary":
            reply = solve_pb2.SolveReply(
                coords=arrays,
                axes=_axes(body),
                t=body["t"],
                status=body["status"],
                batch_size=body["batch_size"],
                model=model_pb2.ModelRef(**body["model"]),
            )
            for stage, milliseconds in body["timings_ms"].items():
                setattr(reply.timings, f"{stage}_ms", milliseconds)
            if body["diagnostics"] is not None:
                reply.diagnostics.CopyFrom(solve_pb2.Diagnostics(**body["diagnostics"]))
            return solve_pb2.SolveStreamReply(summary=reply)
        case _:
            return solve_pb2.SolveStreamReply()


def _axes(body: dict[str, Any]) -> dict[str, Any]:
    return {name: solve_pb2.AxisNames(names=names) for name, names in body["axes"].items()}
