from pathlib import Path
from typing import Any

import pytest
from torch import nn

from certisolve_export import Exported, export


def field(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "dtype": "F32", "axes": ["x"], "description": name} | changes


def draft(**changes: Any) -> dict[str, Any]:
    """A model that takes u0(x) and returns u(x) on 16 points, its error given by the user."""
    document: dict[str, Any] = {
        "name": "mine",
        "title": "mine",
        "description": "a model of somebody's",
        "equation": "u = f(u0)",
        "licence": "MIT",
        "axes": {"x": {"kind": "grid", "lower": 0.0, "upper": 1.0, "convention": "periodic"}},
        "inputs": [field("u0", minimum=-1.0, maximum=1.0)],
        "outputs": [field("u")],
        "resolutions": [resolution(16)],
        "max_batch_size": 16,
    }
    return document | changes


def resolution(size: int, **changes: Any) -> dict[str, Any]:
    measured = {"error": 0.01, "worst_error": 0.02, "metric": "rel_l2", "num_samples": 10}
    return {"sizes": {"x": size}, **measured, **changes}


class Pointwise(nn.Module):
    """A function of the inputs as a module, in evaluation mode."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


@pytest.fixture
def attempt(tmp_path: Path) -> Any:
    """Export a module, or a function, with changes to the draft and options of `export`."""

    def run(model: Any, *, options: dict[str, Any] | None = None, **changes: Any) -> Exported:
        if not isinstance(model, nn.Module | Path):
            model = Pointwise(model)
        return export(model, draft(**changes), tmp_path / "models", **(options or {}))

    return run
