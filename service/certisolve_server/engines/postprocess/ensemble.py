"""Members of an ensemble to their mean and calibrated standard deviation."""

from collections.abc import Mapping

from torch import Tensor

from .base import AbstractPostprocess, Outputs


class Ensemble(AbstractPostprocess):
    """u = mean of the members, u_std = calibration x their standard deviation.

    The deviation is that of a sample, with one degree of freedom less. The factor was fitted to
    errors on held-out data (Lakshminarayanan et al., "Simple and scalable predictive uncertainty",
    2017, leave it at 1; Levi et al., 2022, fit it).
    """

    def __call__(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> Outputs:
        del inputs
        members = outputs.fields[self.spec.output]
        fields = outputs.fields | {self.spec.output: members.mean(dim=1)}
        if self.spec.deviation is not None:
            fields[self.spec.deviation] = self.spec.calibration * members.std(dim=1)
        return outputs._replace(fields=fields)
