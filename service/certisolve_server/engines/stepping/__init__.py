"""Models that answer in many steps: jobs take slots, step together, and leave between steps."""

from .bank import SlotBank as SlotBank
from .engine import SteppingEngine as SteppingEngine
from .engine import finish as finish
from .stepper import AbstractStepper as AbstractStepper
from .stepper import Rows as Rows
from .stepper import Stepped as Stepped
from .values import Ended as Ended
from .values import Run as Run

__all__ = [
    "AbstractStepper",
    "Ended",
    "Rows",
    "Run",
    "SlotBank",
    "Stepped",
    "SteppingEngine",
    "finish",
]
