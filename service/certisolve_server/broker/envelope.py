"""Jobs and answers as bytes, between processes of one release and the next.

A record is the length of a header (8 bytes, little-endian), the header as JSON with its version
under `v`, and the bytes of the arrays one after the other. The header is padded to 16 bytes, so
that arrays can be read where they lie.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from certisolve import wire
from certisolve_server.errors import InternalError, ServingError, error_of
from certisolve_server.jobs import (
    Array,
    ModelKey,
    Outcome,
    Priority,
    SolveContext,
    SolveJob,
    Terms,
    Timings,
    Work,
)

_VERSION = 1
_LENGTH_BYTES = 8
_ALIGNMENT = 16


class Record(NamedTuple):
    """An encoded record, its arrays not copied yet."""

    chunks: tuple[bytes | memoryview, ...]

    @property
    def num_bytes(self) -> int:
        """In all."""
        return sum(len(chunk) for chunk in self.chunks)

    def to_bytes(self) -> bytes:
        """In one piece."""
        return b"".join(self.chunks)


def encode_job(job: SolveJob) -> Record:
    """A job, without its deadline, which the queue holds where it can see it."""
    terms = job.terms
    header = {
        "v": _VERSION,
        "id": job.id,
        "model": tuple(job.model),
        "parameters": job.parameters,
        "submitted_at": job.submitted_at,
        "tenant": terms.tenant,
        "priority": terms.priority,
        "traceparent": terms.traceparent,
        "context": _context_to_json(job.context),
        "work": dataclasses.asdict(job.work),
    }
    return _encode(header, job.inputs)


def decode_job(record: bytes | memoryview, deadline: float | None) -> SolveJob:
    """The job of a record; its arrays are views of it.

    Raises:
        InternalError: another version's, or damaged.
    """
    header, inputs = _decode(record)
    return SolveJob(
        id=header["id"],
        model=ModelKey(*header["model"]),
        inputs=inputs,
        parameters=tuple(header["parameters"]),
        submitted_at=header["submitted_at"],
        context=_context_from_json(header["context"]),
        terms=Terms(
            deadline=deadline,
            tenant=header["tenant"],
            priority=Priority(header["priority"]),
            traceparent=header["traceparent"],
        ),
        work=_work_from_json(header.get("work", {})),
    )


def encode_outcome(outcome: Outcome) -> Record:
    """An answer."""
    header = {
        "v": _VERSION,
        "model": tuple(outcome.model),
        "finite": outcome.finite,
        "timings": outcome.timings,
        "batch_size": outcome.batch_size,
        "context": _context_to_json(outcome.context),
        "findings": outcome.findings,
    }
    return _encode(header, outcome.outputs)


def decode_outcome(record: bytes | memoryview) -> Outcome:
    """The answer of a record; its arrays are views of it.

    Raises:
        InternalError: another version's, or damaged.
    """
    header, outputs = _decode(record)
    return Outcome(
        model=ModelKey(*header["model"]),
        outputs=outputs,
        finite=header["finite"],
        timings=Timings(**header["timings"]),
        batch_size=header["batch_size"],
        context=_context_from_json(header["context"]),
        findings=_findings_from_json(header.get("findings", {})),
    )


def encode_error(error: ServingError) -> bytes:
    """An error."""
    return orjson.dumps(
        {
            "code": error.code,
            "detail": error.detail,
            "field": error.field,
            "retry_after_s": error.retry_after_s,
        }
    )


def decode_error(record: bytes) -> ServingError:
    """The error of a record."""
    return error_of(**orjson.loads(record))


def _encode(header: Mapping[str, Any], arrays: Sequence[Array]) -> Record:
    kinds = [(wire.dtype_name(array), array.shape) for array in arrays]
    text = orjson.dumps({**header, "arrays": kinds})
    length = -(-(_LENGTH_BYTES + len(text)) // _ALIGNMENT) * _ALIGNMENT - _LENGTH_BYTES
    head = length.to_bytes(_LENGTH_BYTES, "little") + text.ljust(length)
    return Record((head, *(wire.to_bytes(array) for array in arrays)))


def _decode(record: bytes | memoryview) -> tuple[dict[str, Any], tuple[Array, ...]]:
    view = memoryview(record)
    start = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    try:
        header = orjson.loads(view[_LENGTH_BYTES:start])
        if header["v"] != _VERSION:
            raise InternalError(f"a record of version {header['v']}; this is {_VERSION}")
        return header, _read_arrays(header["arrays"], view[start:])
    except (KeyError, ValueError, TypeError) as error:
        raise InternalError("a damaged record in the queue") from error


def _read_arrays(kinds: Sequence[tuple[str, list[int]]], data: memoryview) -> tuple[Array, ...]:
    arrays, position = [], 0
    for dtype, shape in kinds:
        num_bytes = wire.DTYPES[dtype].itemsize * int(np.prod(shape, dtype=np.int64))
        arrays.append(wire.from_bytes("", dtype, shape, data[position : position + num_bytes]))
        position += num_bytes
    return tuple(arrays)


def _context_to_json(context: SolveContext) -> dict[str, Any]:
    values = {
        "t": context.t,
        "sizes": dict(context.sizes),
        "resampled_from": context.resampled_from and dict(context.resampled_from),
        "expected_error": context.expected_error,
        "diagnostics": context.diagnostics,
    }
    if context.out_of_range == _out_of_range_before(context.resampled_from):
        return values  # which release 0.2 reads, too
    return values | {"out_of_range": context.out_of_range}


def _context_from_json(values: dict[str, Any]) -> SolveContext:
    before = _out_of_range_before(values["resampled_from"])
    out_of_range = tuple(values.get("out_of_range", before))
    return SolveContext(**{**values, "t": tuple(values["t"]), "out_of_range": out_of_range})


def _out_of_range_before(resampled_from: Mapping[str, int] | None) -> tuple[str, ...]:
    """What release 0.2 said by `resampled_from` alone."""
    return () if resampled_from is None else ("resolution",)


def _work_from_json(values: Mapping[str, Any]) -> Work:
    return Work(**{**values, "steps": tuple(values.get("steps", ()))})


def _findings_from_json(values: Mapping[str, float | None]) -> dict[str, float]:
    # JSON has no NaN.
    return {name: math.nan if value is None else value for name, value in values.items()}
