"""The contract of an engine: how one family answers batches of requests on one device."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certisolve_server.jobs import Artifact, Work

from .device import AbstractDevice, Fetch
from .program import AbstractProgram, ProgramError


class Step(NamedTuple):
    """What a batch came to.

    Attributes:
        outputs: per output of the manifest, an array of shape (batch_size, ...), or of shape
            (frame, ...) where there are `num_frames`.
        findings: about the answers, an array of shape (batch_size,) by name.
        finite: per request, whether every element of every output is finite.
        batch_size: requests in the pass.
        padded_size: rows in the pass.
        batch_ms: assembling the batch.
        compute_ms: the forward pass and the way back.
        num_frames: per request, how many frames are its answer; those of one request follow those
            of the other. None where an answer has none.
    """

    outputs: list[NDArray[Any]]
    findings: Mapping[str, NDArray[Any]]
    finite: list[bool]
    batch_size: int
    padded_size: int
    batch_ms: float
    compute_ms: float
    num_frames: Sequence[int] | None = None

    def row(self, row: int) -> tuple[NDArray[Any], ...]:
        """The outputs of one request."""
        return _row(self.outputs, self.num_frames, row)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a family makes of a batch, on the device.

    Attributes:
        outputs: per output of the manifest, a tensor of shape (batch, ...), or of shape (frame,
            ...) where there are `num_frames`.
        findings: about the answers, a tensor of shape (batch,) by name.
        num_frames: per row, how many frames are its answer; those of one row follow those of the
            other. None where an answer has none.
    """

    outputs: Sequence[Tensor]
    findings: dict[str, Tensor] = field(default_factory=dict)
    num_frames: Sequence[int] | None = None


class Launch(NamedTuple):
    """A batch under way on the device."""

    fetch: Fetch
    findings: Sequence[str]
    num_frames: Sequence[int] | None
    batch_size: int
    padded_size: int
    started_at: float
    staged_at: float

    def wait(self) -> Step:
        """Block until the batch is back; may be called from any thread, once."""
        arrays = self.fetch()
        num_outputs = len(arrays) - len(self.findings)
        # Without the rows that padding added, which stand last.
        own = None if self.num_frames is None else self.num_frames[: self.batch_size]
        num_entries = self.batch_size if own is None else sum(own)
        outputs = [array[:num_entries] for array in arrays[:num_outputs]]
        found = [array[: self.batch_size] for array in arrays[num_outputs:]]
        return Step(
            outputs,
            dict(zip(self.findings, found, strict=True)),
            _finite(outputs, own, self.batch_size),
            self.batch_size,
            self.padded_size,
            batch_ms=1e3 * (self.staged_at - self.started_at),
            compute_ms=1e3 * (time.perf_counter() - self.staged_at),
            num_frames=own,
        )


class AbstractEngine(ABC):
    """Answers the requests of one model, a batch at a time.

    Arguments:
        artifact: whose model this is.
        device: where it runs.
        checks: looks at answers; None for a model without such a program.
    """

    def __init__(
        self, artifact: Artifact, device: AbstractDevice, checks: AbstractProgram | None = None
    ) -> None:
        self.artifact = artifact
        self.device = device
        self._checks = checks

    @abstractmethod
    def solve(self, inputs: Sequence[Tensor], work: Sequence[Work]) -> Answer:
        """The answers to a batch on the device.

        Args:
            inputs: of the manifest, then its parameters, each with a batch dimension.
            work: what is asked of each row.
        """

    def launch(
        self, columns: Sequence[Sequence[NDArray[Any]]], work: Sequence[Work] | None = None
    ) -> Launch:
        """Start a batch; returns once the device has it.

        Args:
            columns: per input of the manifest and parameter of the program, one array per request;
                shapes and dtypes agree.
            work: what is asked, per request; None where nothing but the inputs matters.

        Raises:
            Exception: whatever the program raises; nothing is under way then.
        """
        started_at = time.perf_counter()
        batch_size = len(columns[0])
        padded_size = self.device.padded(batch_size)
        asked = list(work or [Work()] * batch_size)
        asked += asked[-1:] * (padded_size - batch_size)
        with self.device.scope():
            inputs = self.device.stage(columns, padded_size)
            staged_at = time.perf_counter()
            answer = self.solve(inputs, asked)
            findings = answer.findings | self._checked(inputs, asked, answer)
            fetch = self.device.fetch([*answer.outputs, *findings.values()])
        return Launch(
            fetch, list(findings), answer.num_frames, batch_size, padded_size, started_at, staged_at
        )

    def _checked(
        self, inputs: Sequence[Tensor], work: Sequence[Work], answer: Answer
    ) -> dict[str, Tensor]:
        checks = self.artifact.manifest.checks
        if self._checks is None or checks is None or not any(each.checks for each in work):
            return {}
        found = [torch.empty(len(work), dtype=torch.float64) for _ in checks.names]
        for rows, outputs in _alike(answer):
            taken = [tensor[rows] for tensor in inputs]
            for values, result in zip(found, self._checks(*taken, *outputs), strict=True):
                if result.shape != values[rows].shape:  # would be broadcast
                    raise ProgramError(f"a check of {len(values[rows])} rows: {result.shape}")
                values[rows] = result.to(values)
        named = dict(zip(checks.names, found, strict=True))
        # What a post-processor has mended is worth knowing, though the answer now obeys.
        return {name: _larger(answer.findings.get(name), value) for name, value in named.items()}


def _alike(answer: Answer) -> list[tuple[list[int] | slice, list[Tensor]]]:
    """Rows with as many frames, and their outputs: a check may look at all frames at once."""
    if answer.num_frames is None:
        return [(slice(None), list(answer.outputs))]
    if len(set(answer.num_frames)) == 1:  # without a copy
        shape = len(answer.num_frames), answer.num_frames[0]
        return [(slice(None), [o.reshape(*shape, *o.shape[1:]) for o in answer.outputs])]
    starts = [0, *accumulate(answer.num_frames)]
    groups: dict[int, list[int]] = {}
    for row, num_frames in enumerate(answer.num_frames):
        groups.setdefault(num_frames, []).append(row)
    return [
        (
            rows,
            [
                torch.stack([o[starts[row] : starts[row + 1]] for row in rows])
                for o in answer.outputs
            ],
        )
        for rows in groups.values()
    ]


def _larger(before: Tensor | None, after: Tensor) -> Tensor:
    return after if before is None else torch.maximum(before.to(after), after)


def _row(
    outputs: Sequence[NDArray[Any]], num_frames: Sequence[int] | None, row: int
) -> tuple[NDArray[Any], ...]:
    if num_frames is None:
        return tuple(np.asarray(output[row]) for output in outputs)
    start = sum(num_frames[:row])
    return tuple(output[start : start + num_frames[row]] for output in outputs)


def _finite(
    outputs: Sequence[NDArray[Any]], num_frames: Sequence[int] | None, batch_size: int
) -> list[bool]:
    if num_frames is not None:
        rows = (_row(outputs, num_frames, row) for row in range(batch_size))
        return [all(bool(np.isfinite(field).all()) for field in row) for row in rows]
    columns = [np.isfinite(o).all(axis=tuple(range(1, o.ndim))) for o in outputs]
    finite: list[bool] = np.logical_and.reduce(columns).tolist()
    return finite
