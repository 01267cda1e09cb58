"""Arrays from and to files, as the command line names them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from certisolve import Solution, wire

Array = NDArray[Any]

_ARCHIVES = (".npz", ".safetensors")
_SUFFIXES = (".npy", *_ARCHIVES)


class ArrayFileError(ValueError):
    """A file that cannot be read or written as asked; the message says what to do."""


def read_inputs(file: Path | None, inputs: Sequence[str]) -> dict[str, Array]:
    """The inputs of a request.

    Args:
        file: an archive whose arrays are inputs by their names; None for none.
        inputs: `name=file.npy`, `name=file.npz:key`, or `name=0.5,0.7`; these win over `file`.

    Raises:
        ArrayFileError: a file cannot be read.
    """
    arrays = {} if file is None else _read_archive(file)
    for text in inputs:
        name, separator, source = text.partition("=")
        if not (name and separator and source):
            raise ArrayFileError(f"--input {text}: write NAME=FILE, for example u0=u0.npy")
        arrays[name] = _read_source(name, source)
    if not arrays:
        raise ArrayFileError("no inputs; pass --input NAME=FILE, or one .npz or .safetensors file")
    return arrays


def check_writable(path: Path) -> None:
    """Find out before the work whether its result can be kept.

    Raises:
        ArrayFileError: unknown suffix, or no such directory.
    """
    if path.suffix not in _SUFFIXES:
        raise ArrayFileError(f"{path}: the name must end in one of {', '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise ArrayFileError(f"{path}: there is no directory {path.parent}")


def write_solution(path: Path, solution: Solution) -> None:
    """Fields, coordinates as `coords.<axis>` and times; a .npy holds the only field.

    Raises:
        ArrayFileError: several fields in a .npy, or the file cannot be written.
    """
    coords = {f"coords.{axis}": points for axis, points in solution.coords.items()}
    tensors = {**solution.fields, **coords}
    try:
        match path.suffix:
            case ".npy":
                np.save(path, _only_field(path, solution), allow_pickle=False)
            case ".npz":
                _save_npz(path, {**tensors, "t": solution.t})
            case _:
                path.write_bytes(wire.encode_safetensors(tensors, _metadata(solution)))
    except OSError as error:
        raise ArrayFileError(f"{path}: {error.strerror or error}") from error


def _read_source(name: str, source: str) -> Array:
    numbers = _numbers(source)
    if numbers is not None:
        return numbers
    file, key = _split_key(source)
    if file.suffix == ".npy":
        return _load_npy(file)
    return _pick(name, file, key, _read_archive(file))


def _numbers(source: str) -> Array | None:
    try:
        return np.array([float(number) for number in source.split(",")])
    except ValueError:
        return None


def _split_key(source: str) -> tuple[Path, str]:
    for suffix in _ARCHIVES:
        file, separator, key = source.rpartition(f"{suffix}:")
        if separator:
            return Path(file + suffix), key
    return Path(source), ""


def _pick(name: str, file: Path, key: str, arrays: Mapping[str, Array]) -> Array:
    if not key and len(arrays) == 1:
        return next(iter(arrays.values()))
    wanted = key or name
    if wanted not in arrays:
        known = ", ".join(arrays) or "nothing"
        raise ArrayFileError(f"{file}: has no {wanted}; it holds {known}: {name}={file}:KEY")
    return arrays[wanted]


def _read_archive(file: Path) -> dict[str, Array]:
    if file.suffix not in _ARCHIVES:
        known = ", ".join(_SUFFIXES)
        raise ArrayFileError(f"{file}: the name must end in one of {known}")
    if not file.is_file():
        raise ArrayFileError(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, SafetensorError, KeyError) as error:
        raise ArrayFileError(f"{file}: cannot be read: {error}") from error


def _load_npy(file: Path) -> Array:
    try:
        with file.open("rb") as stream:
            array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError as error:
        raise ArrayFileError(f"{file}: no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise ArrayFileError(f"{file}: cannot be read: {error}") from error
    return array


def _only_field(path: Path, solution: Solution) -> Array:
    if len(solution.fields) > 1:
        raise ArrayFileError(f"{path}: a .npy holds one array; name it .npz or .safetensors")
    return next(iter(solution.fields.values()))


def _save_npz(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def _metadata(solution: Solution) -> dict[str, Any]:
    diagnostics = solution.diagnostics
    return {
        "axes": solution.axes,
        "t": solution.t.tolist(),
        "status": solution.status,
        "expected_error": None if diagnostics is None else diagnostics.expected_error,
        "model": solution.model._asdict(),
    }
