"""Boundary conditions, enforced on the values of a field at the ends of its grid axes."""

from collections.abc import Mapping

from torch import Tensor

from .base import AbstractPostprocess, Outputs


class Dirichlet(AbstractPostprocess):
    """The first and last values along every grid axis are `value`."""

    def __call__(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> Outputs:
        del inputs
        field = outputs.fields[self.spec.output].clone()
        for dimension in self.grid_dimensions():
            field.select(dimension, 0).fill_(self.spec.value)
            field.select(dimension, -1).fill_(self.spec.value)
        return outputs._replace(fields=outputs.fields | {self.spec.output: field})


class Periodic(AbstractPostprocess):
    """The last values along every grid axis of nodes are the first, both their former mean."""

    def __call__(self, outputs: Outputs, inputs: Mapping[str, Tensor]) -> Outputs:
        del inputs
        field = outputs.fields[self.spec.output].clone()
        for dimension in self.grid_dimensions():
            first, last = field.select(dimension, 0), field.select(dimension, -1)
            mean = 0.5 * (first + last)
            first.copy_(mean)
            last.copy_(mean)
        return outputs._replace(fields=outputs.fields | {self.spec.output: field})
