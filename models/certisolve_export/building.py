"""A user's module, made by a function of the user's own file."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .errors import BuildError
from .places import raised_at


def build_module(target: str, weights: Path | None = None) -> nn.Module:
    """The module that `FILE.py:FUNCTION` or `package.module:FUNCTION` returns.

    The file is run, with its folder on the path, as Python would run it.

    Args:
        target: file and function.
        weights: a safetensors file of the module's state dict, loaded into it.

    Raises:
        BuildError: no such file or function, it fails, or the weights are another network's.
    """
    source, _, name = target.rpartition(":")
    if not source or not name.isidentifier():
        raise BuildError(f"{target}: names no function", "write FILE.py:FUNCTION, or FILE.onnx")
    module = _called(target, _function(source, name))
    if weights is not None:
        _load_weights(module, weights)
    return module


def _function(source: str, name: str) -> Callable[[], Any]:
    try:
        namespace = _import_file(Path(source)) if source.endswith(".py") else _import(source)
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(
            f"{source} fails when it is imported: {_described(error)}",
            "run it with python to see the whole traceback",
        ) from error
    function = getattr(namespace, name, None)
    if not callable(function):
        known = [key for key, value in vars(namespace).items() if callable(value)]
        raise BuildError(
            f"{source} has no function {name}", f"it has {', '.join(sorted(known)) or 'none'}"
        )
    called: Callable[[], Any] = function
    return called


def _called(target: str, function: Callable[[], Any]) -> nn.Module:
    try:
        module = function()
    except Exception as error:
        raise BuildError(
            f"{target} fails: {_described(error)}", "it is called without arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise BuildError(f"{target} returns a {type(module).__name__}", "return a torch.nn.Module")
    return module


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise BuildError(f"{path}: no such file", "write FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise BuildError(f"{path}: not a Python file", "write FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    # As `python FILE.py` does: its neighbours can be imported, also when the module runs.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BuildError(
            f"{path}: {error}",
            "write it with safetensors.torch.save_file(module.state_dict(), ...)",
        ) from error
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise BuildError(
            f"{path} holds the weights of another network: {' '.join(lines)}",
            "build the network as it was trained",
        ) from error


def _described(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}{raised_at(error)}"
