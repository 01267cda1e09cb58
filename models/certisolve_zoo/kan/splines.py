"""B-splines on uniform knots, by comparisons and arithmetic only so that every runtime can export.

A spline of degree k on G intervals of [lower, upper] has G + k bases over knots that continue k
intervals past each end. Outside the continued knots every base is zero: a network is meaningful
only while its activations stay inside [lower, upper].
"""

import torch
from jaxtyping import Float
from torch import Tensor

DEGREE = 3


def uniform_knots(
    lower: Float[Tensor, " channel"], upper: Float[Tensor, " channel"], num_intervals: int
) -> Float[Tensor, "channel knot"]:
    """Knots of G intervals on [lower, upper] and k more on each side."""
    steps = torch.arange(-DEGREE, num_intervals + DEGREE + 1, dtype=lower.dtype)
    # Multiplied before it is divided, so that the box [-1, 1] ends exactly there in float32.
    return lower[:, None] + steps * (upper - lower)[:, None] / num_intervals


def bspline_bases(
    x: Float[Tensor, "sample channel"], knots: Float[Tensor, "channel knot"]
) -> Float[Tensor, "sample channel basis"]:
    """The G + k cubic bases at x, by the recursion of Cox and de Boor (1972).

    B_{i,0} = 1 on [t_i, t_{i+1}), and B_{i,k} is the sum of
    (x - t_i)/(t_{i+k} - t_i) B_{i,k-1} and (t_{i+k+1} - x)/(t_{i+k+1} - t_{i+1}) B_{i+1,k-1}.
    """
    x = x.unsqueeze(2)
    bases = ((x >= knots[:, :-1]) & (x < knots[:, 1:])).to(x.dtype)
    for degree in range(1, DEGREE + 1):
        rising = (x - knots[:, : -degree - 1]) / (knots[:, degree:-1] - knots[:, : -degree - 1])
        falling = (knots[:, degree + 1 :] - x) / (knots[:, degree + 1 :] - knots[:, 1:-degree])
        bases = rising * bases[..., :-1] + falling * bases[..., 1:]
    return bases


def fit_coefficients(
    x: Float[Tensor, "sample channel"],
    values: Float[Tensor, "sample channel out"],
    knots: Float[Tensor, "channel knot"],
) -> Float[Tensor, "channel basis out"]:
    """Coefficients of the splines nearest to values(x), in least squares, channel by channel."""
    bases = bspline_bases(x, knots).permute(1, 0, 2)
    fitted = torch.linalg.lstsq(bases, values.permute(1, 0, 2), driver="gelsd")
    return torch.as_tensor(fitted.solution)
