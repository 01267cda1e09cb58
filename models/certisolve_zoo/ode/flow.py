"""The flow of a learned vector field, by a solver that chooses its method by stiffness."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.integrate import solve_ivp
from torch import Tensor

MAX_EVALUATIONS = 20_000


def flow(
    field: Callable[..., Tensor],
    y0: Float[Tensor, "batch state"],
    t_eval: Sequence[float],
    *parameters: Float[Tensor, " batch"],
    rtol: float,
    atol: float,
) -> Float[Tensor, "batch t state"]:
    """The states at t_eval, of dy/dt = field(y, t, *parameters), y(0) = y0, one sample by another.

    LSODA of scipy, in float64: below about 10 000 weights it takes a sample further than batches of
    steps in torch do.

    Args:
        field: takes a batch of states, times and parameters, all float64.
        y0: initial states.
        t_eval: ascending times above 0, the same for all.
        parameters: of every sample.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.

    Raises:
        RuntimeError: the solver gave up, or asked for the field without end.
    """
    rows = zip(y0.double(), *(each.double() for each in parameters), strict=True)
    with torch.inference_mode():
        return torch.stack(
            [_solve(field, *row, t_eval=t_eval, rtol=rtol, atol=atol) for row in rows]
        )


def _solve(
    field: Callable[..., Tensor],
    y0: Tensor,
    *parameters: Tensor,
    t_eval: Sequence[float],
    rtol: float,
    atol: float,
) -> Float[Tensor, "t state"]:
    taken, evaluations = [each[None] for each in parameters], itertools.count()

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        if next(evaluations) == MAX_EVALUATIONS:
            raise RuntimeError(f"from {y0.tolist()}: no end after {MAX_EVALUATIONS} evaluations")
        time = torch.full((1,), t, dtype=torch.float64)
        return np.asarray(field(torch.from_numpy(y)[None], time, *taken)[0])

    span = (0.0, t_eval[-1])
    solved = solve_ivp(slope, span, y0.numpy(), "LSODA", t_eval, rtol=rtol, atol=atol)
    if not solved.success:
        raise RuntimeError(f"from {y0.tolist()}: {solved.message}")
    return torch.from_numpy(solved.y.T)
