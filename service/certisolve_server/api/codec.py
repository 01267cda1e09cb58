"""HTTP bodies to requests, solutions to HTTP bodies."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from certisolve import wire
from certisolve_server.answers import Solution
from certisolve_server.jobs import Array, Artifact, SolveRequest, Terms

from .bodies import JSON as JSON
from .bodies import Parts, take_apart, validated
from .schemas import SolveBody

#: Prefix of the tensors of a body that are coordinates.
COORDS = "coords."
_NOTHING_MORE = SolveBody()
_NO_MORE: Mapping[str, Mapping[str, Array]] = {}


class Encoded(NamedTuple):
    """A reply's bytes and their media type."""

    body: bytes
    media_type: str


def decode_solve(model: str, media_type: str, body: bytes, terms: Terms) -> SolveRequest:
    """The request in a body; its arrays are views of the body.

    Args:
        model: from the path.
        media_type: of the body.
        body: whole.
        terms: from the headers.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    return solve_request(model, take_apart(media_type, body, "inputs"), terms)


def solve_request(model: str, parts: Parts, terms: Terms) -> SolveRequest:
    """The request in the parts of a body, of which the first role is `inputs`.

    Raises:
        InvalidOption: a key is unknown, or its value malformed.
    """
    parsed = validated(SolveBody, parts.rest) if parts.rest else _NOTHING_MORE
    return SolveRequest(
        model=model,
        version=parsed.version,
        inputs=parts.tensors["inputs"],
        untyped=parts.untyped,
        parameters=parsed.parameters,
        t=None if parsed.t is None else tuple(parsed.t),
        tolerance=parsed.options.tolerance,
        rtol=parsed.options.rtol,
        atol=parsed.options.atol,
        steps=parsed.steps,
        save_every=parsed.options.save_every,
        resume_from=parsed.options.resume_from,
        diagnostics=parsed.options.diagnostics,
        terms=terms,
    )


def encode_solution(
    solution: Solution, media_type: str, more: Mapping[str, Mapping[str, Array]] = _NO_MORE
) -> Encoded:
    """A solution in one of the two media types.

    Args:
        solution: whose fields go by their names.
        media_type: of the reply.
        more: arrays beside them, by role and name; in safetensors as `<role>.<name>`.
    """
    metadata = solution_metadata(solution)
    if media_type == JSON:
        roles = {role: json_arrays(arrays) for role, arrays in more.items()}
        return Encoded(_dump({**_json_tensors(solution), **metadata, **roles}), JSON)
    return _framed(solution, metadata, more)


def encode_job_result(job: Mapping[str, Any], solution: Solution, media_type: str) -> Encoded:
    """A succeeded job with its solution.

    Args:
        job: what is said of it beside the solution.
        solution: becomes its `result`.
        media_type: of the reply.
    """
    if media_type == JSON:
        result = {**_json_tensors(solution), **solution_metadata(solution)}
        return Encoded(_dump({**job, "result": result}), JSON)
    return _framed(solution, {**job, "result": solution_metadata(solution)})


def encode_json(document: Mapping[str, Any]) -> bytes:
    """A JSON document; numpy arrays become lists, NaN becomes null."""
    return _dump(document)


def preferred_type(accept: str | None, request_type: str) -> str:
    """The first media type of `Accept` that is spoken here, else the request's."""
    for choice in (accept or "").split(","):
        media_type = choice.partition(";")[0].strip()
        if media_type in (JSON, wire.SAFETENSORS):
            return media_type
    return wire.SAFETENSORS if request_type == wire.SAFETENSORS else JSON


def solution_metadata(solution: Solution) -> dict[str, Any]:
    """Everything about a solution but its tensors."""
    timings = solution.timings
    return {
        "axes": solution.axes,
        "t": solution.t,
        "status": solution.status,
        "diagnostics": solution.diagnostics and solution.diagnostics.told(),
        "timings_ms": {
            "queue": timings.queue_ms,
            "batch": timings.batch_ms,
            "compute": timings.compute_ms,
        },
        "batch_size": solution.batch_size,
        "model": model_ref(solution.artifact),
    }


def model_ref(artifact: Artifact) -> dict[str, str]:
    """Which program answered."""
    manifest = artifact.manifest
    return {"name": manifest.name, "version": manifest.version, "digest": artifact.digest}


def json_arrays(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays by name, as `encode_json` writes them in nested lists."""
    return {name: _json_array(array) for name, array in arrays.items()}


def _framed(
    solution: Solution,
    metadata: Mapping[str, Any],
    more: Mapping[str, Mapping[str, Array]] = _NO_MORE,
) -> Encoded:
    coords = {COORDS + axis: points for axis, points in solution.coords.items()}
    tensors = {**solution.fields, **coords}
    for role, arrays in more.items():
        tensors |= {f"{role}.{name}": array for name, array in arrays.items()}
    return Encoded(wire.encode_safetensors(tensors, _dump(metadata).decode()), wire.SAFETENSORS)


def _json_tensors(solution: Solution) -> dict[str, Any]:
    return {"fields": json_arrays(solution.fields), "coords": solution.coords}


def _json_array(array: Array) -> Any:
    # ascontiguousarray would make a list of a single number.
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _dump(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
