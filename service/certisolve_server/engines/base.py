"""The contract of an engine: how one family answers batches of requests on one device."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certisolve_server.jobs import Artifact, Work

from .device import AbstractDevice, Fetch
from .program import AbstractProgram

Frames = Sequence[Sequence[int]]


class Step(NamedTuple):
    """What a batch came to.

    Attributes:
        outputs: per output of the manifest, an array of shape (batch_size, ...).
        findings: about the answers, an array of shape (batch_size,) by name.
        finite: per request, whether every element of every output is finite.
        batch_size: requests in the pass.
        padded_size: rows in the pass.
        batch_ms: assembling the batch.
        compute_ms: the forward pass and the way back.
        frames: per request, which entries of the second axis are its answer; None for all.
    """

    outputs: list[NDArray[Any]]
    findings: Mapping[str, NDArray[Any]]
    finite: list[bool]
    batch_size: int
    padded_size: int
    batch_ms: float
    compute_ms: float
    frames: Frames | None = None

    def row(self, row: int) -> tuple[NDArray[Any], ...]:
        """The outputs of one request."""
        return tuple(_row(output, row, self.frames) for output in self.outputs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a family makes of a batch, on the device.

    Attributes:
        outputs: per output of the manifest, a tensor with a batch dimension.
        findings: about the answers, a tensor of shape (batch,) by name.
        frames: per request, which entries of the second axis are its answer; None for all.
    """

    outputs: Sequence[Tensor]
    findings: dict[str, Tensor] = field(default_factory=dict)
    frames: Frames | None = None


class Launch(NamedTuple):
    """A batch under way on the device."""

    fetch: Fetch
    findings: Sequence[str]
    frames: Frames | None
    batch_size: int
    padded_size: int
    started_at: float
    staged_at: float

    def wait(self) -> Step:
        """Block until the batch is back; may be called from any thread, once."""
        # Without the rows that padding added.
        arrays = [array[: self.batch_size] for array in self.fetch()]
        num_outputs = len(arrays) - len(self.findings)
        outputs, found = arrays[:num_outputs], arrays[num_outputs:]
        return Step(
            outputs,
            dict(zip(self.findings, found, strict=True)),
            _finite(outputs, self.frames, self.batch_size),
            self.batch_size,
            self.padded_size,
            batch_ms=1e3 * (self.staged_at - self.started_at),
            compute_ms=1e3 * (time.perf_counter() - self.staged_at),
            frames=self.frames,
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
            fetch, list(findings), answer.frames, batch_size, padded_size, started_at, staged_at
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
                values[rows] = result.to(values)
        named = dict(zip(checks.names, found, strict=True))
        # What a post-processor has mended is worth knowing, though the answer now obeys.
        return {name: _larger(answer.findings.get(name), value) for name, value in named.items()}


def _alike(answer: Answer) -> list[tuple[list[int] | slice, list[Tensor]]]:
    """Rows that want the same frames, and their outputs: a check may look at all frames at once."""
    if answer.frames is None:
        return [(slice(None), list(answer.outputs))]
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, frames in enumerate(answer.frames):
        groups.setdefault(tuple(frames), []).append(row)
    return [
        (rows, [output[rows][:, list(frames)] for output in answer.outputs])
        for frames, rows in groups.items()
    ]


def _larger(before: Tensor | None, after: Tensor) -> Tensor:
    return after if before is None else torch.maximum(before.to(after), after)


def _row(output: NDArray[Any], row: int, frames: Frames | None) -> NDArray[Any]:
    if frames is None or len(frames[row]) == output.shape[1]:
        return np.asarray(output[row])
    return np.asarray(output[row, list(frames[row])])


def _finite(outputs: list[NDArray[Any]], frames: Frames | None, batch_size: int) -> list[bool]:
    if frames is not None:
        return [
            all(bool(np.isfinite(_row(output, row, frames)).all()) for output in outputs)
            for row in range(batch_size)
        ]
    rows = [np.isfinite(output).all(axis=tuple(range(1, output.ndim))) for output in outputs]
    finite: list[bool] = np.logical_and.reduce(rows).tolist()
    return finite
