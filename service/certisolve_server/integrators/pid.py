"""The size of the next step, from the errors of the last three."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from .rowwise import power

#: Errors below this share of the tolerance say nothing more about the step.
_LEAST_ERROR = 1e-10


@dataclass(frozen=True)
class PID:
    """dt' = dt * safety * e0^(-b0/k) * e1^(-b1/k) * e2^(-b2/k), within limits.

    e0, e1, e2 are the errors of the last three steps in units of the tolerance and k is one more
    than the order of the embedded method. The default is PI.4.2 of Söderlind, Digital filters in
    adaptive time-stepping, ACM TOMS 29 (2003), table III; (1/18, 1/9, 1/18) is H312PID.
    """

    coefficients: tuple[float, float, float] = (3 / 5, -1 / 5, 0.0)
    safety: float = 0.9
    #: Limits of dt'/dt, those of Hairer, Norsett and Wanner, Solving ODEs I (1993), II.4.
    least: float = 0.2
    most: float = 10.0

    def after_accepted(
        self,
        error: Float[Tensor, " batch"],
        errors: Float[Tensor, "batch 2"],
        k: int,
    ) -> Float[Tensor, " batch"]:
        """dt'/dt after a step with this error, which followed steps with `errors`."""
        first, second, third = self.coefficients
        factor = self.safety * power(error.clamp(min=_LEAST_ERROR), -first / k)
        if second:
            factor = factor * power(errors[:, 0].clamp(min=_LEAST_ERROR), -second / k)
        if third:
            factor = factor * power(errors[:, 1].clamp(min=_LEAST_ERROR), -third / k)
        return factor.clamp(self.least, self.most)

    def after_rejected(self, error: Float[Tensor, " batch"], k: int) -> Float[Tensor, " batch"]:
        """dt'/dt after a step with too large an error: of this error alone, and less than 1."""
        return (self.safety * power(error.clamp(min=1.0), -1 / k)).clamp(self.least, self.safety)
