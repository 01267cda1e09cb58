"""Where a program comes from: a module that is traced, or an ONNX file that is taken as it is."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from certisolve.manifest import Manifest

from . import onnx_file, trials
from .answers import Program, program_axes
from .archive import save_onnx, save_torch_export
from .draft import Format, passed_parameters
from .errors import MutatedState, UnreadableProgram
from .portability import OperatorList, check_portable, is_complex
from .sizes import Size
from .tracing import copied, trace

COMPLEX_NOTE = "computes with complex numbers: no ONNX of it, and compilers leave these parts alone"


class Source(ABC):
    """Gives a program, before and after it was written to a file."""

    @abstractmethod
    def program(self) -> Program:
        """What is to be exported, to be tried."""

    @abstractmethod
    def check(self, manifest: Manifest, varying: dict[str, Size]) -> None:
        """Refuse what can be seen without running it.

        Raises:
            ExportError: naming it.
        """

    @abstractmethod
    def write(
        self,
        path: Path,
        manifest: Manifest,
        arguments: Sequence[Tensor],
        varying: dict[str, Size],
        is_listed: OperatorList | None,
    ) -> Sequence[str]:
        """Write the program's file; what its owner should know about it.

        Raises:
            ExportError: it would not be portable.
        """


class ModuleSource(Source):
    """A module, in evaluation mode."""

    def __init__(self, module: nn.Module, file_format: Format) -> None:
        self._module = module
        # Some modules keep what they computed for the last shape, which tracing must not find.
        self._unused = copied(module).requires_grad_(False)
        self._format = file_format

    def program(self) -> Program:
        run = trials.as_program(self._module)

        def unchanged(arguments: Sequence[Tensor]) -> Sequence[Tensor]:
            before = {name: each.clone() for name, each in self._module.named_buffers()}
            outputs = run(arguments)
            for name, buffer in self._module.named_buffers():
                if name in before and not torch.equal(before[name], buffer):
                    raise MutatedState(
                        f"forward changes the buffer {name}",
                        "call .eval() on the module; what must be remembered from step to step is "
                        "a state that the program takes and returns",
                    )
            return outputs

        return unchanged

    def check(self, manifest: Manifest, varying: dict[str, Size]) -> None:
        del manifest, varying
        trials.check_evaluation_mode(self._module)

    def write(
        self,
        path: Path,
        manifest: Manifest,
        arguments: Sequence[Tensor],
        varying: dict[str, Size],
        is_listed: OperatorList | None,
    ) -> Sequence[str]:
        program = trace(self._unused, arguments, program_axes(manifest), varying)
        onnx = self._format == "onnx"
        check_portable(program, allow_complex=not onnx, is_listed=None if onnx else is_listed)
        if onnx:
            save_onnx(program, path, *_names(manifest))
            return ()
        notes = [COMPLEX_NOTE] if is_complex(program) else []
        save_torch_export(program, path)
        return notes


class OnnxSource(Source):
    """An ONNX file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UnreadableProgram(f"{path}: no such file", "pass an .onnx file")
        self._path = path
        self._session = onnx_file.open_onnx(path)

    def program(self) -> Program:
        return onnx_file.as_program(self._session)

    def check(self, manifest: Manifest, varying: dict[str, Size]) -> None:
        onnx_file.check_arguments(self._session, manifest, varying)

    def write(
        self,
        path: Path,
        manifest: Manifest,
        arguments: Sequence[Tensor],
        varying: dict[str, Size],
        is_listed: OperatorList | None,
    ) -> Sequence[str]:
        del manifest, arguments, varying, is_listed
        shutil.copyfile(self._path, path)
        return ()


def _names(manifest: Manifest) -> tuple[list[str], list[str]] | tuple[None, None]:
    """Of the graph's arguments; where an output is the next value of an input, torch chooses."""
    if manifest.stepping is not None:
        return None, None
    scalars = [spec.name for spec in passed_parameters(manifest)]
    fields = [spec.name for spec in manifest.inputs]
    return [*fields, *scalars], [spec.name for spec in manifest.outputs]


def load_program(path: Path, file_format: Format) -> Program:
    """The program in a file that was just written, as servers run it."""
    if file_format == "onnx":
        return onnx_file.as_program(onnx_file.open_onnx(path))
    # Guards are left out by servers too: sizes are checked against the manifest.
    return trials.as_program(torch.export.load(path).module(check_guards=False))
