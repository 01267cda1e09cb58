"""Jobs, answers and frames as bytes, between processes of one release and the next.

A record is the length of a header (8 bytes, little-endian), the header as JSON with its version
under `v`, and the bytes of the arrays one after the other. The header is padded to 16 bytes, so
that arrays can be read where they lie.

Version 2 says what release 0.3 does not know: `groups` tells how many of the arrays are of which
kind, where they are of more than one. Whatever can be said in version 1 is, so that processes of
both releases can share a queue while it is being updated.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import orjson

from certisolve import wire
from certisolve_server.errors import InternalError, ServingError, error_of
from certisolve_server.jobs import (
    Array,
    Frame,
    ModelKey,
    Outcome,
    Priority,
    SolveContext,
    SolveJob,
    Terms,
    Timings,
    Work,
)

_FIRST_VERSION, _VERSION = 1, 2
#: What release 0.3 could ask for.
_FIRST_WORK = ("steps", "tolerance", "checks")
_USUAL = Work()
#: What reading raises where a record is not as it should be.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
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
    terms, work = job.terms, _work_to_json(job.work)
    header = {
        "id": job.id,
        "model": tuple(job.model),
        "parameters": job.parameters,
        "submitted_at": job.submitted_at,
        "tenant": terms.tenant,
        "priority": terms.priority,
        "traceparent": terms.traceparent,
        "context": _context_to_json(job.context),
        "work": work,
    }
    groups = (job.inputs, job.states, job.directions)
    return _encode(header, groups, is_new=work.keys() - _FIRST_WORK != set())


def decode_job(record: bytes | memoryview, deadline: float | None) -> SolveJob:
    """The job of a record; its arrays are views of it.

    Raises:
        InternalError: a newer version's, or damaged.
    """
    with _reading():
        header, (inputs, states, directions) = _decode(record, 3)
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
            states=states,
            directions=directions,
        )


def encode_outcome(outcome: Outcome) -> Record:
    """An answer."""
    header = {
        "model": tuple(outcome.model),
        "finite": outcome.finite,
        "timings": outcome.timings,
        "batch_size": outcome.batch_size,
        "context": _context_to_json(outcome.context),
        "findings": outcome.findings,
    }
    is_partial = outcome.t is not None or outcome.ending is not None
    if is_partial:
        header |= {"t": outcome.t, "ending": outcome.ending}
    if outcome.kind != _USUAL.kind:
        header["kind"] = outcome.kind
    is_new = is_partial or "kind" in header
    return _encode(header, (outcome.outputs, outcome.states), is_new=is_new)


def decode_outcome(record: bytes | memoryview) -> Outcome:
    """The answer of a record; its arrays are views of it.

    Raises:
        InternalError: a newer version's, or damaged.
    """
    with _reading():
        header, (outputs, states) = _decode(record, 2)
        t = header.get("t")
        return Outcome(
            model=ModelKey(*header["model"]),
            outputs=outputs,
            finite=header["finite"],
            timings=Timings(**header["timings"]),
            batch_size=header["batch_size"],
            context=_context_from_json(header["context"]),
            findings=_findings_from_json(header.get("findings", {})),
            t=None if t is None else tuple(t),
            ending=header.get("ending"),
            states=states,
            kind=header.get("kind", _USUAL.kind),
        )


def encode_frame(frame: Frame) -> Record:
    """A frame of an answer."""
    return _encode({"index": frame.index, "t": frame.t}, (frame.outputs,), is_new=True)


def decode_frame(record: bytes | memoryview) -> Frame:
    """The frame of a record; its arrays are views of it.

    Raises:
        InternalError: a newer version's, or damaged.
    """
    with _reading():
        header, (outputs,) = _decode(record, 1)
        return Frame(header["index"], header["t"], outputs)


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
    """The error of a record.

    Raises:
        InternalError: damaged.
    """
    with _reading():
        return error_of(**orjson.loads(record))


def _encode(
    header: Mapping[str, Any], groups: Sequence[Sequence[Array]], *, is_new: bool
) -> Record:
    """A record of arrays in groups.

    Args:
        header: what else it says.
        groups: of arrays, by kind.
        is_new: whether the header says what release 0.3 does not know.
    """
    arrays = [array for group in groups for array in group]
    said = {**header, "arrays": [(wire.dtype_name(array), array.shape) for array in arrays]}
    if len(arrays) > len(groups[0]):
        said["groups"], is_new = [len(group) for group in groups], True
    text = orjson.dumps({"v": _VERSION if is_new else _FIRST_VERSION, **said})
    length = -(-(_LENGTH_BYTES + len(text)) // _ALIGNMENT) * _ALIGNMENT - _LENGTH_BYTES
    head = length.to_bytes(_LENGTH_BYTES, "little") + text.ljust(length)
    return Record((head, *(wire.to_bytes(array) for array in arrays)))


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise InternalError("a damaged record in the queue") from error


def _decode(
    record: bytes | memoryview, num_groups: int
) -> tuple[dict[str, Any], list[tuple[Array, ...]]]:
    view = memoryview(record)
    start = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    header = orjson.loads(view[_LENGTH_BYTES:start])
    if not _FIRST_VERSION <= header["v"] <= _VERSION:
        raise InternalError(f"a record of version {header['v']}; this is {_VERSION}")
    kinds = header["arrays"]
    counts = header.get("groups", [len(kinds)] + [0] * (num_groups - 1))
    if len(counts) != num_groups or sum(counts) != len(kinds):
        raise ValueError(f"{len(kinds)} arrays, not {counts}")
    arrays = iter(_read_arrays(kinds, view[start:]))
    return header, [tuple(islice(arrays, count)) for count in counts]


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


def _work_to_json(work: Work) -> dict[str, Any]:
    """What release 0.3 reads, and of the rest what is not as it was then."""
    values = dataclasses.asdict(work)
    return {
        name: value
        for name, value in values.items()
        if name in _FIRST_WORK or value != getattr(_USUAL, name)
    }


def _work_from_json(values: Mapping[str, Any]) -> Work:
    lists = {name: tuple(values.get(name, ())) for name in ("steps", "t")}
    return Work(**{**values, **lists})


def _findings_from_json(values: Mapping[str, float | None]) -> dict[str, float]:
    # JSON has no NaN.
    return {name: math.nan if value is None else value for name, value in values.items()}
