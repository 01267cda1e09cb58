"""A user's draft of a manifest: all of it but what exporting measures and computes."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from certisolve.manifest import Manifest, ManifestError, ParameterSpec, TensorSpec

from .errors import DraftError, UnsupportedDtype

Format = Literal["torch.export", "onnx"]
Draft = Manifest | Mapping[str, Any] | Path | str
PROGRAM_FILES: dict[Format, str] = {"torch.export": "program.pt2", "onnx": "program.onnx"}
GOLDEN_TOLERANCE = 1e-5
MAX_BATCH_SIZE = 64
_DEFAULTS: dict[str, Any] = {
    "version": "1",
    "family": "map",
    "unvalidated_resolution": "refuse",
    "golden_tolerance": GOLDEN_TOLERANCE,
    "max_batch_size": MAX_BATCH_SIZE,
}
_EXPORTED = ("map", "rollout", "memory-rollout")
_SERVED = ("F32", "F64")


def read_draft(draft: Draft, file_format: Format) -> Manifest:
    """The manifest as drafted, with defaults, and without what is yet to be measured.

    Keys that exporting computes (`program`, `files`, `batch_tolerance`) may be there: a whole
    manifest is a draft of the next. A resolution needs no `error` yet, and a model without a grid
    no resolutions.

    Args:
        draft: a manifest, its JSON as a mapping, or a file of it.
        file_format: that the program will have.

    Raises:
        DraftError: it is no manifest, or one of a family that is not exported here.
        UnsupportedDtype: a tensor is not float32 or float64.
    """
    document = {**_DEFAULTS, **_document(draft)}
    file = PROGRAM_FILES[file_format]
    document |= {
        "program": {"format": file_format, "file": file},
        "files": {file: ""},
        "batch_tolerance": 0.0,
        "resolutions": [_resolution(each) for each in _resolutions(document)],
    }
    document.pop("format_version", None)
    try:
        manifest = Manifest.from_json(json.dumps(document))
    except ManifestError as error:
        raise DraftError(
            f"manifest: {error}", "see docs/bring-your-own.md for every key"
        ) from error
    _check_exported(manifest)
    return manifest


def passed_parameters(manifest: Manifest) -> tuple[ParameterSpec, ...]:
    """The parameters that the program takes, each of shape (batch,), float32."""
    return tuple(spec for spec in manifest.parameters if spec.program_input)


def states(manifest: Manifest) -> tuple[TensorSpec, ...]:
    """What the program remembers from step to step."""
    return manifest.stepping.states if manifest.stepping else ()


def _document(draft: Draft) -> dict[str, Any]:
    if isinstance(draft, Manifest):
        return dataclasses.asdict(draft)
    if isinstance(draft, Mapping):
        return dict(draft)
    try:
        document = json.loads(Path(draft).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DraftError(f"{draft}: {error}", "pass a JSON file of the manifest") from error
    if not isinstance(document, dict):
        raise DraftError(f"{draft}: not an object", "write the manifest's keys in braces")
    return document


def _resolutions(document: dict[str, Any]) -> list[Any]:
    listed = document.get("resolutions")
    if listed:
        return list(listed)
    axes = document.get("axes")
    kinds = [axis.get("kind") for axis in axes.values()] if isinstance(axes, dict) else []
    if "grid" in kinds:
        raise DraftError(
            "resolutions: the model has a grid, and none of its sizes is listed",
            'list those that were measured, [{"sizes": {"x": 64}}]',
        )
    return [{"sizes": {}}]


def _resolution(entry: Any) -> Any:
    if not isinstance(entry, Mapping) or entry.get("error") is not None:
        return entry
    unmeasured = {"error": None, "worst_error": None, "num_samples": 0}
    return {"metric": "rel_l2", **entry, **unmeasured}


def _check_exported(manifest: Manifest) -> None:
    if manifest.family not in _EXPORTED:
        raise DraftError(
            f"family: {manifest.family} is not exported here", f"export one of {_EXPORTED}"
        )
    for key in ("postprocess", "checks"):
        if getattr(manifest, key):
            raise DraftError(f"{key}: not exported here", "do it in the module, or leave it out")
    for spec in (*manifest.inputs, *manifest.outputs, *states(manifest)):
        if spec.dtype not in _SERVED:
            raise UnsupportedDtype(
                f"{spec.name}: {spec.dtype} is drafted, and fields are served as F32 or F64",
                "cast in the module; half precision loses what an error estimate promises, and "
                "integers and truth values can be sent as F32 with `values`",
            )
