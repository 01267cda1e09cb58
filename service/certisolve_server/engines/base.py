"""The contract of an engine: how one family answers batches of requests on one device."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from certisolve_server.jobs import Artifact, Work

from .checks import Checker
from .device import AbstractDevice, Fetch
from .program import AbstractProgram


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
    """

    outputs: list[NDArray[Any]]
    findings: Mapping[str, NDArray[Any]]
    finite: list[bool]
    batch_size: int
    padded_size: int
    batch_ms: float
    compute_ms: float

    def row(self, row: int) -> tuple[NDArray[Any], ...]:
        """The outputs of one request."""
        return tuple(np.asarray(output[row]) for output in self.outputs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a family makes of a batch, on the device.

    Attributes:
        outputs: per output of the manifest, a tensor of shape (batch, ...).
        findings: about the answers, a tensor of shape (batch,) by name.
    """

    outputs: Sequence[Tensor]
    findings: dict[str, Tensor] = field(default_factory=dict)


class Launch(NamedTuple):
    """A batch under way on the device."""

    fetch: Fetch
    findings: Sequence[str]
    batch_size: int
    padded_size: int
    started_at: float
    staged_at: float

    def wait(self) -> Step:
        """Block until the batch is back; may be called from any thread, once."""
        arrays = self.fetch()
        num_outputs = len(arrays) - len(self.findings)
        # Without the rows that padding added, which stand last.
        outputs = [array[: self.batch_size] for array in arrays[:num_outputs]]
        found = [array[: self.batch_size] for array in arrays[num_outputs:]]
        return Step(
            outputs,
            dict(zip(self.findings, found, strict=True)),
            _finite(outputs),
            self.batch_size,
            self.padded_size,
            batch_ms=1e3 * (self.staged_at - self.started_at),
            compute_ms=1e3 * (time.perf_counter() - self.staged_at),
        )


class AbstractEngine(ABC):
    """Answers the requests of one model, a batch at a time: in one call from start to end.

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
        self._checker = Checker(artifact.manifest.checks, checks)

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
            findings = answer.findings
            if any(each.checks for each in asked):
                findings = findings | self._checker(inputs, answer.outputs, findings)
            fetch = self.device.fetch([*answer.outputs, *findings.values()])
        return Launch(fetch, list(findings), batch_size, padded_size, started_at, staged_at)


def _finite(outputs: Sequence[NDArray[Any]]) -> list[bool]:
    columns = [np.isfinite(o).all(axis=tuple(range(1, o.ndim))) for o in outputs]
    finite: list[bool] = np.logical_and.reduce(columns).tolist()
    return finite
