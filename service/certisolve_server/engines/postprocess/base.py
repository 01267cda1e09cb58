"""The contract of a post-processor."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from certisolve.manifest import Manifest, Postprocess


class Outputs(NamedTuple):
    """Outputs by name, and what was found about them.

    Attributes:
        fields: each with a batch dimension.
        findings: of shape (batch,), by name.
    """

    fields: dict[str, Tensor]
    findings: dict[str, Tensor]


class AbstractPostprocess(ABC):
    """Changes outputs as the manifest says.

    Arguments:
        spec: what to do.
        manifest: of the model, which names axes and conventions.
    """

    def __init__(self, spec: Postprocess, manifest: Manifest) -> None:
        self.spec = spec
        self.manifest = manifest

    @abstractmethod
    def __call__(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> Outputs:
        """The outputs, changed; the given tensors stay as they are.

        Args:
            outputs: of the program, or of the post-processor before.
            inputs: what the program took, by the manifest's names.
        """

    def grid_dimensions(self) -> dict[int, str]:
        """Dimensions of the output that are grid axes, counted with the batch, and their names."""
        output = next(each for each in self.manifest.outputs if each.name == self.spec.output)
        return {
            dimension: name
            for dimension, name in enumerate(output.axes, start=1)
            if self.manifest.axes[name].kind == "grid"
        }
