"""ONNX programs, by onnxruntime on the tensors of the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch.utils.dlpack
from torch import Tensor

from .device import AbstractDevice
from .program import AbstractProgram, ProgramError


class OnnxProgram(AbstractProgram):
    """An ONNX graph whose weights lie inside the file.

    Raises:
        ProgramError: unreadable, custom operators, or no provider for the device.
    """

    def __init__(self, path: Path, device: AbstractDevice) -> None:
        self._device = device
        try:
            # From bytes: a graph can then not pull in other files as external data.
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), _options(), providers=[_provider(device)]
            )
        except Exception as error:
            raise ProgramError(f"{path.name}: onnxruntime cannot load it: {error}") from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        binding = self._session.io_binding()
        # Kept until the run: onnxruntime is told addresses alone, of elements without gaps.
        taken = [tensor.contiguous() for tensor in inputs]
        for name, tensor in zip(self._inputs, taken, strict=True):
            element = np.dtype(str(tensor.dtype).removeprefix("torch."))
            place = _place(tensor.device)
            binding.bind_input(name, *place, element, tuple(tensor.shape), tensor.data_ptr())
        for name in self._outputs:
            binding.bind_output(name, *_place(self._device.torch_device))
        if self._device.torch_device.type == "cuda":
            # onnxruntime runs on a stream of its own: the staged copies must have arrived.
            torch.cuda.current_stream(self._device.torch_device).synchronize()
        self._session.run_with_iobinding(binding)
        # DLPack shares the memory; onnxruntime frees it when the last tensor goes.
        return [torch.utils.dlpack.from_dlpack(output) for output in binding.get_outputs()]


def _place(device: torch.device) -> tuple[str, int]:
    return device.type, device.index or 0


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return options


def _provider(device: AbstractDevice) -> Any:
    if device.torch_device.type == "cpu":
        return "CPUExecutionProvider"
    return ("CUDAExecutionProvider", {"device_id": device.torch_device.index})
