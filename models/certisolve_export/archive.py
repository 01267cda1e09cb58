"""Program files: archives of JSON and raw numbers, and ONNX graphs that hold their weights."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from .errors import NotTraceable, PickledPayload, ProgramTooLarge
from .tracing import strip

#: What servers read as the JSON of a graph, and what ONNX can hold in one file.
MAX_GRAPH_BYTES, MAX_ONNX_BYTES = 256 << 20, (1 << 31) - 1


def save_torch_export(
    program: ExportedProgram, path: Path, *, max_graph_bytes: int = MAX_GRAPH_BYTES
) -> None:
    """Write a `.pt2` archive of JSON and raw tensor bytes.

    Raises:
        PickledPayload: a weight is a subclass of tensors, or a constant no tensor.
        ProgramTooLarge: servers would not read the graph.
    """
    strip(program)
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".json"):
                continue
            if info.file_size > max_graph_bytes:
                raise ProgramTooLarge(
                    f"{path.name}: the graph takes {info.file_size} bytes of JSON, servers read "
                    f"{max_graph_bytes}",
                    "loops are unrolled in a graph: take fewer steps per call",
                )
            _check_payload(json.loads(archive.read(info)))


def save_onnx(
    program: ExportedProgram,
    path: Path,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    *,
    max_bytes: int = MAX_ONNX_BYTES,
) -> None:
    """Write one ONNX file, weights included.

    Raises:
        NotTraceable: torch has no translation of an operator to ONNX.
        ProgramTooLarge: more than one file can hold.
    """
    strip(program)
    try:
        translated = torch.onnx.export(
            program,
            input_names=input_names,
            output_names=output_names,
            dynamo=True,
            verbose=False,
        )
    except Exception as error:
        raise _untranslated(error) from error
    if translated is None:
        raise NotTraceable("torch returned no ONNX program", "export as torch.export")
    weights = translated.model.graph.initializers.values()
    size = sum(weight.const_value.nbytes for weight in weights if weight.const_value is not None)
    if size > max_bytes:
        raise ProgramTooLarge(
            f"{path.name}: weights of {size} bytes, and one ONNX file holds {max_bytes}",
            "export as torch.export",
        )
    translated.save(path, external_data=False)


def _untranslated(error: Exception) -> NotTraceable:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    line = str(cause).strip().partition("\n")[0]
    return NotTraceable(f"torch cannot write ONNX: {line}", "export as torch.export")


def _check_payload(document: Any) -> None:
    entries = document.get("config", {}) if isinstance(document, dict) else {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and entry.get("use_pickle"):
            raise PickledPayload(
                f"{name} can only be stored as a pickle, which servers refuse to read",
                "make it a plain tensor: a parameter or buffer without a subclass of its own",
            )
