"""The contract of a program: tensors in, tensors out, each with a batch dimension."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from certisolve.manifest import Program
from certisolve_server.jobs import Artifact

from .device import AbstractDevice


class ProgramError(Exception):
    """A program that cannot be served: unsafe, unreadable, or not what its manifest says."""


class AbstractProgram(ABC):
    """A graph on a device."""

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Outputs for inputs on the device."""


class Programs(NamedTuple):
    """What one artifact executes.

    Attributes:
        network: what was trained.
        operator: A of a linear system, for the family `iterative-solver`.
        checks: looks at answers.
    """

    network: AbstractProgram
    operator: AbstractProgram | None = None
    checks: AbstractProgram | None = None


def open_programs(artifact: Artifact, device: AbstractDevice) -> Programs:
    """The programs of an artifact on `device`.

    Raises:
        ProgramError: one is unsafe or unreadable.
    """
    manifest = artifact.manifest

    iteration, checks = manifest.iteration, manifest.checks
    return Programs(
        _open(manifest.program, artifact, device),
        _open(iteration.operator, artifact, device) if iteration else None,
        _open(checks.program, artifact, device) if checks else None,
    )


def _open(program: Program, artifact: Artifact, device: AbstractDevice) -> AbstractProgram:
    path = Path(artifact.directory) / program.file
    # Imported here: a server of torch programs alone need not have onnxruntime, nor pay for it.
    if program.format == "onnx":
        from .onnx_program import OnnxProgram

        return OnnxProgram(path, device)
    from .torch_program import TorchProgram

    return TorchProgram(path, device)
