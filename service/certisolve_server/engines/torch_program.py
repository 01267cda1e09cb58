"""torch.export programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass
from torch.fx.graph import CodeGen

from certisolve_server.artifacts import UnsafeProgram, check_pt2

from .device import AbstractDevice
from .program import AbstractProgram, ProgramError


class TorchProgram(AbstractProgram):
    """A `.pt2` of ATen operators, its archive checked before torch reads it.

    Raises:
        ProgramError: the archive could run code on load, or torch cannot read it.
    """

    def __init__(self, path: Path, device: AbstractDevice) -> None:
        try:
            check_pt2(path)
            program = move_to_device_pass(torch.export.load(path), device.name)
        except UnsafeProgram as error:
            raise ProgramError(f"{path.name}: refused: {error}") from error
        except Exception as error:
            raise ProgramError(f"{path.name}: torch cannot read it: {error}") from error
        # Guards are Python text of the author's; shapes are checked against the manifest instead.
        module = program.module(check_guards=False)
        # Tensors in, tensors out: without the pytrees and hooks around the graph, which cost more
        # than a small model.
        module.graph.set_codegen(CodeGen())
        module.recompile()
        _shorten_ways(module)
        self._forward = module.forward

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        outputs: Sequence[Tensor] = self._forward(*inputs)
        return outputs


def _shorten_ways(module: torch.fx.GraphModule) -> None:
    """Put weights where Python looks first: modules search for theirs, a microsecond for each."""
    for node in module.graph.find_nodes(op="get_attr"):
        owner: Any = module
        for name in str(node.target).split("."):
            found = getattr(owner, name)
            owner.__dict__[name] = found
            owner = found
