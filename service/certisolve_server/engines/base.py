"""The contract of an engine: one program on one device."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from certisolve_server.jobs import Artifact

from .device import AbstractDevice, Fetch


class ProgramError(Exception):
    """A program that cannot be served: unsafe, unreadable, or not what its manifest says."""


class Step(NamedTuple):
    """What a batch came to.

    Attributes:
        outputs: per output of the manifest, an array of shape (batch_size, ...).
        finite: per request, whether every element of every output is finite.
        batch_size: requests in the pass.
        padded_size: rows in the pass.
        batch_ms: assembling the batch.
        compute_ms: the forward pass and the way back.
    """

    outputs: list[NDArray[Any]]
    finite: list[bool]
    batch_size: int
    padded_size: int
    batch_ms: float
    compute_ms: float


class Launch(NamedTuple):
    """A batch under way on the device."""

    fetch: Fetch
    batch_size: int
    padded_size: int
    started_at: float
    staged_at: float

    def wait(self) -> Step:
        """Block until the batch is back; may be called from any thread, once."""
        # Without the rows that padding added.
        outputs = [output[: self.batch_size] for output in self.fetch()]
        return Step(
            outputs,
            _finite(outputs),
            self.batch_size,
            self.padded_size,
            batch_ms=1e3 * (self.staged_at - self.started_at),
            compute_ms=1e3 * (time.perf_counter() - self.staged_at),
        )


class AbstractEngine(ABC):
    """Runs one program, a forward pass per batch.

    Arguments:
        artifact: whose program this is.
        device: where it runs.
    """

    def __init__(self, artifact: Artifact, device: AbstractDevice) -> None:
        self.artifact = artifact
        self.device = device

    @abstractmethod
    def forward(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Outputs of the program for inputs on the device, each with a batch dimension."""

    def launch(self, columns: Sequence[Sequence[NDArray[Any]]]) -> Launch:
        """Start a batch; returns once the device has it.

        Args:
            columns: per program input, one array per request; shapes and dtypes agree.

        Raises:
            Exception: whatever the program raises; nothing is under way then.
        """
        started_at = time.perf_counter()
        batch_size = len(columns[0])
        padded_size = self.device.padded(batch_size)
        with self.device.scope():
            inputs = self.device.stage(columns, padded_size)
            staged_at = time.perf_counter()
            fetch = self.device.fetch(self.forward(inputs))
        return Launch(fetch, batch_size, padded_size, started_at, staged_at)


def _finite(outputs: list[NDArray[Any]]) -> list[bool]:
    rows = [np.isfinite(output).all(axis=tuple(range(1, output.ndim))) for output in outputs]
    finite: list[bool] = np.logical_and.reduce(rows).tolist()
    return finite
