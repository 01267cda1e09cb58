"""Bring your own model: modules and ONNX files to artifacts that servers accept.

Knows neither the server nor the zoo, which exports its models with the same functions.
"""

from .building import build_module as build_module
from .errors import BuildError as BuildError
from .errors import ComplexInOnnx as ComplexInOnnx
from .errors import DataDependentControlFlow as DataDependentControlFlow
from .errors import DraftError as DraftError
from .errors import ExportError as ExportError
from .errors import ForeignOperator as ForeignOperator
from .errors import GoldenMismatch as GoldenMismatch
from .errors import MixedBatch as MixedBatch
from .errors import ModuleFailed as ModuleFailed
from .errors import MutatedState as MutatedState
from .errors import NotDeterministic as NotDeterministic
from .errors import NotFinite as NotFinite
from .errors import NotMeasured as NotMeasured
from .errors import NotServed as NotServed
from .errors import NotTraceable as NotTraceable
from .errors import PickledPayload as PickledPayload
from .errors import ProgramTooLarge as ProgramTooLarge
from .errors import SampleError as SampleError
from .errors import SpecialisedBatch as SpecialisedBatch
from .errors import SpecialisedDimension as SpecialisedDimension
from .errors import SpecialisedGrid as SpecialisedGrid
from .errors import TrainingMode as TrainingMode
from .errors import UnlistedOperator as UnlistedOperator
from .errors import UnreadableProgram as UnreadableProgram
from .errors import UnsupportedDtype as UnsupportedDtype
from .errors import WrongOutputs as WrongOutputs
from .errors import WrongShape as WrongShape
from .exporting import Exported as Exported
from .exporting import export as export
from .samples import Samples as Samples
from .samples import read_samples as read_samples
from .symbolic import symbolic_sizes as symbolic_sizes

__all__ = [
    "BuildError",
    "ComplexInOnnx",
    "DataDependentControlFlow",
    "DraftError",
    "ExportError",
    "Exported",
    "ForeignOperator",
    "GoldenMismatch",
    "MixedBatch",
    "ModuleFailed",
    "MutatedState",
    "NotDeterministic",
    "NotFinite",
    "NotMeasured",
    "NotServed",
    "NotTraceable",
    "PickledPayload",
    "ProgramTooLarge",
    "SampleError",
    "Samples",
    "SpecialisedBatch",
    "SpecialisedDimension",
    "SpecialisedGrid",
    "TrainingMode",
    "UnlistedOperator",
    "UnreadableProgram",
    "UnsupportedDtype",
    "WrongOutputs",
    "WrongShape",
    "build_module",
    "export",
    "read_samples",
    "symbolic_sizes",
]
