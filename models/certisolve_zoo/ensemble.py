"""Deep ensembles (Lakshminarayanan et al., 2017): several networks whose scatter tells the error.

    u = mean_m u_m,   σ = c std_m u_m

Members that saw other data from other random weights disagree where data say little. What they have
in common they cannot show, hence the factor c, fitted to errors on held-out data.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

# A normal error stays within two deviations with this probability.
TWO_SIGMA_COVERAGE = 0.9545


class Ensemble(nn.Module):
    """Members side by side.

    Args:
        members: networks of the same inputs and outputs.

    Attributes:
        calibration: c, kept with the weights.
    """

    calibration: Tensor

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("calibration", torch.ones(()))

    def forward(self, *inputs: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch member ..."]:
        """What each member answers."""
        return torch.stack([member(*inputs) for member in self.members], dim=1)


def mean_and_deviation(
    answers: Float[Tensor, "batch member ..."], calibration: float
) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
    """U and σ; the deviation is that of the members present, divided by their number.

    Args:
        answers: of the members.
        calibration: c.
    """
    deviation, mean = torch.std_mean(answers, dim=1, correction=1)
    return mean, calibration * deviation


def coverage(
    answers: Float[Tensor, "batch member ..."],
    target: Float[Tensor, "batch ..."],
    calibration: float,
    num_deviations: float,
) -> float:
    """Share of all values with |u - target| <= num_deviations σ."""
    mean, deviation = mean_and_deviation(answers, calibration)
    return float(((mean - target).abs() <= num_deviations * deviation).double().mean())


def fitted_calibration(
    answers: Float[Tensor, "batch member ..."], target: Float[Tensor, "batch ..."]
) -> float:
    """The factor c with which two deviations cover as many values as they do of a normal error.

    Args:
        answers: of the members, on data that none was trained on.
        target: the right answers.
    """
    mean, deviation = mean_and_deviation(answers, 1.0)
    ratios = ((mean - target).abs() / deviation.clamp_min(torch.finfo(deviation.dtype).tiny)) / 2
    ordered = ratios.flatten().sort().values
    return float(ordered[int(TWO_SIGMA_COVERAGE * (len(ordered) - 1))])
