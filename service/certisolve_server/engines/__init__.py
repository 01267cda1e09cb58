"""Programs on devices: the only packages of the server that import torch and onnxruntime."""

from .base import AbstractEngine as AbstractEngine
from .base import Answer as Answer
from .base import Launch as Launch
from .base import Step as Step
from .device import AbstractDevice as AbstractDevice
from .device import open_device as open_device
from .load import LoadedEngine as LoadedEngine
from .load import Pace as Pace
from .load import load_engine as load_engine
from .program import ProgramError as ProgramError

__all__ = [
    "AbstractDevice",
    "AbstractEngine",
    "Answer",
    "Launch",
    "LoadedEngine",
    "Pace",
    "ProgramError",
    "Step",
    "load_engine",
    "open_device",
]
