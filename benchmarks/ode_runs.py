"""Many integrations of one vector field: with steps of each sample's own, and with shared ones."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from certisolve_server.integrators import RODAS3, TSIT5, State, Status, interpolate, is_stiff

#: f(t, y, mu) of a batch of samples.
Field = Callable[[Tensor, Tensor, Tensor], Tensor]
MAX_STEPS = 100_000


class Problem(NamedTuple):
    """Samples and where they are looked at."""

    field: Field
    y0: Float[Tensor, "sample state"]
    mu: Float[Tensor, " sample"]
    t_eval: Float[Tensor, " t"]
    rtol: float
    atol: float


class Solved(NamedTuple):
    """What the integrations of a problem came to.

    Attributes:
        states: at the times asked for.
        evaluations: of the field for one sample each; a Jacobian counts as one for each of its
            directions, and what is evaluated for samples that have ended counts as well.
        calls: of the field, each for a whole batch.
        rejected: steps, each of one sample.
        time_s: of the processor, all in all.
    """

    states: Float[Tensor, "sample t state"]
    evaluations: int
    calls: int
    rejected: int
    time_s: float


class _Counted:
    """A field and how often it was asked."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.calls = 0
        self.evaluations = 0

    def of(self, mu: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The field of samples with these parameters."""

        def field(t: Tensor, y: Tensor) -> Tensor:
            self.calls += 1
            self.evaluations += len(mu)
            return self._field(t, y, mu)

        return field

    def add_jacobian(self, num_samples: int, num_states: int) -> None:
        """Directions of a Jacobian and of time, of which one was counted as the call itself."""
        self.evaluations += num_samples * num_states


def own_steps(problem: Problem, num_slots: int, *, switching: bool) -> Solved:
    """Every sample with steps of its own; a slot is given anew as soon as its sample has ended.

    Args:
        problem: samples, more than slots.
        num_slots: samples in a batch.
        switching: whether samples that turn out stiff go on with `RODAS3`, as they do when served.
    """
    started_at = time.process_time()
    counted, states, rejected = _Counted(problem.field), _nothing_yet(problem), 0
    waiting = iter(range(len(problem.y0)))
    samples = torch.tensor([each for _, each in zip(range(num_slots), waiting, strict=False)])
    state = _begun(problem, counted, samples)
    while len(samples):
        state = _stepped(state, counted, problem.mu[samples], switching=switching)
        _look(states, samples, state, problem.t_eval)
        ended = ~state.running
        if ended.any():
            _check(state)
            rejected += int(state.rejected[ended].sum())
            state, samples = _refilled(problem, counted, state, samples, ended, waiting)
    elapsed_s = time.process_time() - started_at
    return Solved(states, counted.evaluations, counted.calls, rejected, elapsed_s)


def shared_steps(problem: Problem, batch_size: int) -> Solved:
    """One step for a whole batch at a time: the norm of the error is that over all samples.

    The batch is a single system for the same method and the same control, as in torchdiffeq.
    """
    started_at = time.process_time()
    counted, states, rejected = _Counted(problem.field), _nothing_yet(problem), 0
    for samples in torch.arange(len(problem.y0)).split(batch_size):
        field = _as_one(counted.of(problem.mu[samples]), len(samples))
        state = _at_start(problem, field, problem.y0[samples].flatten()[None])
        while bool(state.running.any()):
            state = TSIT5.step(field, state)
            _look_at_one(states, samples, state, problem.t_eval)
        _check(state)
        rejected += int(state.rejected) * len(samples)
    elapsed_s = time.process_time() - started_at
    return Solved(states, counted.evaluations, counted.calls, rejected, elapsed_s)


def _nothing_yet(problem: Problem) -> Tensor:
    num_samples, num_states = problem.y0.shape
    shape = num_samples, len(problem.t_eval), num_states
    return torch.full(shape, torch.nan, dtype=problem.y0.dtype)


def _begun(problem: Problem, counted: _Counted, samples: Tensor) -> State:
    return _at_start(problem, counted.of(problem.mu[samples]), problem.y0[samples])


def _at_start(problem: Problem, field: Callable[[Tensor, Tensor], Tensor], y0: Tensor) -> State:
    start = torch.zeros(len(y0), dtype=torch.float64)
    end = start + problem.t_eval[-1]
    tolerances = {"rtol": problem.rtol, "atol": problem.atol}
    return TSIT5.init(field, y0, start, end, **tolerances, max_steps=MAX_STEPS)


def _stepped(state: State, counted: _Counted, mu: Tensor, *, switching: bool) -> State:
    stiff = is_stiff(state) if switching else torch.zeros(len(mu), dtype=torch.bool)
    for method, chosen in ((TSIT5, ~stiff), (RODAS3, stiff)):
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            moved = method.step(counted.of(mu[rows]), state.take(rows))
            state = state.put(rows, moved)
            if method.jacobians:
                counted.add_jacobian(len(rows), state.y.shape[1])
    return state


def _refilled(
    problem: Problem,
    counted: _Counted,
    state: State,
    samples: Tensor,
    ended: Tensor,
    waiting: Iterator[int],
) -> tuple[State, Tensor]:
    """The batch without those that have ended, and with as many of those that wait."""
    kept = (~ended).nonzero()[:, 0]
    free = range(int(ended.sum()))
    joining = torch.tensor([each for _, each in zip(free, waiting, strict=False)], dtype=torch.long)
    state, samples = state.take(kept), torch.cat((samples[kept], joining))
    return state.join([_begun(problem, counted, joining)]) if len(joining) else state, samples


def _look(states: Tensor, samples: Tensor, state: State, t_eval: Tensor) -> None:
    """Keep the states at those times that the last step went past."""
    times = t_eval.expand(len(samples), -1)
    passed = (times > state.t_before[:, None]) & (times <= state.t[:, None])
    if passed.any():
        rows, columns = passed.nonzero(as_tuple=True)
        states[samples[rows], columns] = interpolate(state, times)[rows, columns]


def _look_at_one(states: Tensor, samples: Tensor, state: State, t_eval: Tensor) -> None:
    passed = ((t_eval > state.t_before) & (t_eval <= state.t)).nonzero()[:, 0]
    if len(passed):
        values = interpolate(state, t_eval[None, passed])[0]
        states[samples[:, None], passed] = values.unflatten(1, (len(samples), -1)).transpose(0, 1)


def _as_one(
    field: Callable[[Tensor, Tensor], Tensor], num_samples: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """The samples as one system of all their components."""

    def joint(t: Tensor, y: Tensor) -> Tensor:
        return field(t.expand(num_samples), y.view(num_samples, -1)).flatten()[None]

    return joint


def _check(state: State) -> None:
    lost = (state.status > Status.FINISHED).any()
    if bool(lost):
        raise RuntimeError(f"an integration failed: status {state.status.tolist()}")


def errors(solved: Solved, exact: Tensor) -> Float[Tensor, " sample"]:
    """Root mean square over times and components."""
    return (solved.states.double() - exact).square().mean(dim=(1, 2)).sqrt()
