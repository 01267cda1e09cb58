"""Why a model cannot become an artifact, and what to do about it."""


class ExportError(Exception):
    """A model that cannot be exported as its manifest describes it.

    ```
    ExportError
    ├── DraftError             the draft of the manifest is malformed or contradicts itself
    ├── BuildError             the module cannot be made
    ├── SampleError            examples or reference samples do not fit the manifest
    ├── NotMeasured            nobody knows the error of the answers
    ├── ModuleFailed           the module raises on inputs that the manifest admits
    ├── TrainingMode           dropout or batch normalisation as in training
    ├── WrongOutputs           another number of outputs than in the manifest
    ├── WrongShape             an output whose shape is not that of its axes
    ├── UnsupportedDtype       an element type that is not served, or not the manifest's
    ├── NotFinite              NaN or infinity in an answer
    ├── NotDeterministic       two runs on one input differ
    ├── MutatedState           a call changes the module, or its inputs
    ├── MixedBatch             the answer to a request depends on the others in its batch
    ├── SpecialisedDimension   the graph takes fewer sizes than it must
    │   ├── SpecialisedBatch
    │   └── SpecialisedGrid
    ├── DataDependentControlFlow   Python decides by values of tensors
    ├── NotTraceable           torch.export cannot follow the module
    ├── ForeignOperator        an operator that is not ATen's
    ├── UnlistedOperator       an ATen operator that servers do not run
    ├── ComplexInOnnx          complex numbers, for which ONNX has no operators
    ├── UnreadableProgram      an ONNX file that onnxruntime does not load
    ├── GoldenMismatch         the program computes something else than the module
    ├── PickledPayload         a weight that can only be stored as a pickle
    ├── ProgramTooLarge        more than servers read
    └── NotServed              a server does not load the artifact
    ```

    Attributes:
        problem: what is wrong, and where.
        fix: what to do.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


class DraftError(ExportError):
    """The draft of the manifest is malformed or contradicts itself."""


class BuildError(ExportError):
    """The module cannot be made: no such file or function, or weights of another network."""


class SampleError(ExportError):
    """Examples or reference samples do not fit the manifest."""


class NotMeasured(ExportError):
    """Nobody knows the error of the answers."""


class ModuleFailed(ExportError):
    """The module raises on inputs that the manifest admits."""


class TrainingMode(ExportError):
    """Layers behave as in training: dropout drops, batch normalisation looks at the batch."""


class WrongOutputs(ExportError):
    """The module returns another number of outputs than the manifest lists."""


class WrongShape(ExportError):
    """An output's shape is not that of its axes."""


class UnsupportedDtype(ExportError):
    """An element type that is not served, or is not the manifest's."""


class NotFinite(ExportError):
    """An answer holds NaN or infinity."""


class NotDeterministic(ExportError):
    """Two runs on one input differ."""


class MutatedState(ExportError):
    """A call changes the module or its inputs, so that the next answer would be another."""


class MixedBatch(ExportError):
    """The answer to a request depends on the others in its batch."""


class SpecialisedDimension(ExportError):
    """The graph takes fewer sizes along a dimension than it must."""


class SpecialisedBatch(SpecialisedDimension):
    """The graph takes some batch sizes only."""


class SpecialisedGrid(SpecialisedDimension):
    """The graph takes some sizes of a grid or points axis only."""


class DataDependentControlFlow(ExportError):
    """Python decides by values of tensors, which a graph cannot."""


class NotTraceable(ExportError):
    """torch.export cannot follow the module."""


class ForeignOperator(ExportError):
    """An operator that is not ATen's: custom, compiled, or of an extension."""


class UnlistedOperator(ExportError):
    """An ATen operator that servers do not run."""


class ComplexInOnnx(ExportError):
    """A graph with complex numbers, for which ONNX has no operators."""


class UnreadableProgram(ExportError):
    """An ONNX file that onnxruntime does not load, or whose arguments are not the manifest's."""


class GoldenMismatch(ExportError):
    """The program computes something else than the module it came from."""


class PickledPayload(ExportError):
    """A weight that can only be stored as a pickle, which servers refuse."""


class ProgramTooLarge(ExportError):
    """A program file larger than servers read."""


class NotServed(ExportError):
    """A server does not load the artifact; its own words say why."""
