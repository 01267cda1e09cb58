"""Programs on devices: the only packages of the server that import torch and onnxruntime."""

from .base import AbstractEngine as AbstractEngine
from .base import Answer as Answer
from .base import Launch as Launch
from .base import Step as Step
from .derivatives import Derived as Derived
from .derivatives import derive as derive
from .device import AbstractDevice as AbstractDevice
from .device import open_device as open_device
from .load import LoadedEngine as LoadedEngine
from .load import load_engine as load_engine
from .pace import Pace as Pace
from .program import ProgramError as ProgramError
from .stepping import Ended as Ended
from .stepping import Run as Run
from .stepping import SlotBank as SlotBank
from .stepping import SteppingEngine as SteppingEngine

__all__ = [
    "AbstractDevice",
    "AbstractEngine",
    "Answer",
    "Derived",
    "Ended",
    "Launch",
    "LoadedEngine",
    "Pace",
    "ProgramError",
    "Run",
    "SlotBank",
    "Step",
    "SteppingEngine",
    "derive",
    "load_engine",
    "open_device",
]
