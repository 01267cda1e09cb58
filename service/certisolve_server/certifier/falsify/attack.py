"""Lower bounds, ever better ones: searched for in plain floats, proven of what was found."""

from collections.abc import Iterator

import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.witness import Witness

from .ascent import State, climb, merged, start
from .candidates import Candidate, candidates
from .proof import Prover
from .space import unflat
from .target import Target, target_of

#: Rounds without a better witness after which the search is over.
_PATIENCE = 2

#: Steps of one climb, and steps at random after it.
_STEPS = 150
_RANDOM_STEPS = 20

#: A witness that proves this share of what was measured is as good as can be.
_ENOUGH = 1.0 - 1e-6

#: How many numbers all points of a batch together may pass through: about 0.1 s of work.
_NUMBERS = 1_000_000

_SAMPLES = 4000
_KEPT = 64


def attack(problem: Problem, seed: int, _board: Board) -> Iterator[Witness | None]:
    """Ever better proven witnesses; None where a slice is over without one.

    First of a few points as they are, then in rounds: a climb from the best of many starts, and
    ever smaller steps at random around what it found.

    Raises:
        UnsupportedOperator: an operator cannot be executed.
    """
    target = target_of(problem)
    if bool(target.space.free.any()):
        yield from _Search(problem, target, seed).run()


class _Search:
    """Rounds on one target, each a generator of witnesses and of Nones."""

    def __init__(self, problem: Problem, target: Target, seed: int) -> None:
        self._graph, self._target = problem.graph, target
        self._prover = Prover(problem)
        self._rng = torch.Generator().manual_seed(seed)
        self._batch = max(1, min(_SAMPLES, _NUMBERS // target.numbers))
        self._kept = max(1, min(_KEPT, self._batch // 16))
        self._best = 0.0
        self._state = self._started(min(self._batch, 16)).best(16)

    def run(self) -> Iterator[Witness | None]:
        yield from self._proven(1)
        idle = 0
        while idle < _PATIENCE:
            before = self._best
            yield from self._round()
            idle = 0 if self._best > before * (1.0 + 1e-6) else idle + 1

    def _round(self) -> Iterator[Witness | None]:
        found = self._state.best(1)
        for _ in range(_rounds_of(self._batch)):
            found = merged(found, self._started(self._batch)).best(self._kept)
            yield None
        target, self._state = self._target, found
        for climbed in climb(target.slopes, target.annealed(_STEPS), target.space, found):
            found = climbed
            yield None
        self._keep(self._at(found.points, found))
        yield from self._proven(2)
        yield from self._wandering()
        yield from self._proven(2)

    def _wandering(self) -> Iterator[None]:
        """Steps at random around the best points, from a tenth of the region downwards."""
        space = self._target.space
        for i in range(_RANDOM_STEPS):
            around = self._state.best(max(1, self._kept // 8))
            shape = (max(1, self._kept // len(around.points)), *around.points.shape)
            noise = torch.randn(shape, generator=self._rng, dtype=torch.float64)
            scale = 0.1 * 0.6**i * space.halfwidth
            if not space.is_bounded:
                scale = scale * (1.0 + around.points.abs().mean(1, keepdim=True))
            points = space.project((around.points + noise * scale).flatten(0, 1))
            self._keep(self._at(points, around.repeated(shape[0])))
            yield None

    def _started(self, count: int) -> State:
        points = self._target.space.sample(count, self._rng)
        return start(self._target.slopes, self._target.hard(), points, 2, self._rng)

    def _at(self, points: Tensor, like: State) -> State:
        """Other points, with directions that start from those of a state."""
        state = State(points, like.v, like.w, like.size)
        for _ in range(2):
            state = self._target.slopes.step(self._target.hard(), state)
        return state

    def _keep(self, found: State) -> None:
        self._state = merged(self._state, found).best(self._kept)

    def _proven(self, count: int) -> Iterator[Witness | None]:
        """Witnesses of the best points, where they can be better than what is proven."""
        for i in range(min(count, len(self._state.points))):
            measured = float(self._state.size[i])
            if measured <= self._best * (1.0 + 1e-9):
                break
            direction = self._state.v[i] / self._target.slopes.input_weights
            for candidate in candidates(self._target.space, self._state.points[i], direction):
                witness = self._witness(candidate)
                if witness is not None and witness.lower > self._best:
                    self._best = witness.lower
                    yield witness
                else:
                    yield None
                if self._best >= measured * _ENOUGH:
                    break

    def _witness(self, candidate: Candidate) -> Witness | None:
        x, other = (unflat(self._graph, row) for row in (candidate.x, candidate.other))
        try:
            return self._prover.witness(candidate.kind, x, other)
        except (NotCertified, UnsupportedOperator):
            return None


def _rounds_of(batch: int) -> int:
    """How many batches make up the starts of one round."""
    return min(8, -(-_SAMPLES // batch))
