"""Which layers of a cascade of observers move in each pass; plain values, one list per job.

Jia et al., "Feedback Favors the Generalization of Neural ODEs", 2024. At measurement m, layer i
predicts step i + 1 from what layer i - 1 predicted, corrected by its own observer:

    k = F(x_i, y_i, s exp(-βi)),   y_i <- y_i + Δ k,   x_{i+1} = x_i + Δ k,   x_0 = measurement m

Layer i at measurement m needs layer i - 1 at m, and its own observer from m - 1: all pairs with the
same m + i are one pass.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from certisolve.manifest import Feedback

Gains = NDArray[np.float64]


class Move(NamedTuple):
    """What a pass does with some neighbouring layers of one slot.

    Attributes:
        first: the lowest of them.
        gains: of each.
        dt_x: by which x_{i+1} is ahead of x_i; 0 where layers stay.
        dt_y: by which observers move; 0 where they stay.
        opens: whether it is the observer of the next layer that begins, not its own that moves.
        measurement: the one that becomes x_0 afterwards; None for none.
    """

    first: int
    gains: Gains
    dt_x: float
    dt_y: float
    opens: bool = False
    measurement: int | None = None


class Plan(NamedTuple):
    """The passes of a job.

    Attributes:
        moves: one per pass; each of the last ones leads to a frame.
        warm_up: passes before those.
        noise_gain: by which noise of a measurement is amplified, at the last layer.
    """

    moves: list[Move]
    warm_up: int
    noise_gain: float

    def num_evaluations(self, passes: int) -> int:
        """Of the vector field, in the first passes."""
        return sum(len(move.gains) for move in self.moves[:passes])


@dataclass(frozen=True)
class Cascade:
    """Plans of one model.

    Arguments:
        feedback: gains by layer.
        dt: time between two layers.
    """

    feedback: Feedback
    dt: float

    def forecast(self, num_layers: int, num_measurements: int, factor: float) -> Plan:
        """All measurements through the cascade, along its diagonals.

        Before the first measurement the observers are the uncorrected states, so that with a single
        measurement the forecast is that of the vector field alone.

        Args:
            num_layers: N, as far as is asked.
            num_measurements: M; the plan has M + 2N - 2 passes.
            factor: s, on all gains.
        """
        dt, gains = self.dt, self._gains(num_layers, factor)
        moves = self._open_loop(num_layers - 1)
        for diagonal in range(num_measurements + num_layers - 1):
            first = max(0, diagonal - num_measurements + 1)
            coming = diagonal + 1 if diagonal + 1 < num_measurements else None
            moves.append(Move(first, gains[first : diagonal + 1], dt, dt, measurement=coming))
        return Plan(moves, len(moves) - num_layers, self._noise_gain(gains))

    def opening(self, num_layers: int, factor: float) -> Plan:
        """The first measurement of a session: layers and observers are the uncorrected states."""
        moves = self._open_loop(num_layers)
        moves[-1] = moves[-1]._replace(dt_y=0.0)  # there is no observer beyond it
        return Plan(moves, 0, self._noise_gain(self._gains(num_layers, factor)))

    def correction(self, num_layers: int, factor: float, interval: float) -> Plan:
        """A further one: observers move over the time since the last one, then layers follow.

        A correction that is linear takes exp(-λ_i Δ), λ_i = s λ exp(-βi), off the error of observer
        i, however long the interval Δ is: one step of Euler's with the gain for which 1 - Δ λ g_i
        is just that.
        """
        gains = self._gains(num_layers, factor)
        decays = self.feedback.eigenvalue * gains * interval
        share = -np.expm1(-decays) / np.where(decays > 0, decays, 1.0)
        observers = gains * np.where(decays > 0, share, 1.0)
        moves = [Move(0, observers, 0.0, interval, measurement=0)]
        moves += [Move(i, gains[i : i + 1], self.dt, 0.0) for i in range(num_layers)]
        return Plan(moves, 1, self._noise_gain(gains))

    def _open_loop(self, num_layers: int) -> list[Move]:
        """Layer after layer without correction: x_{i+1}, and with it y_{i+1}."""
        nothing = np.zeros(1)
        return [Move(i, nothing, self.dt, self.dt, opens=True) for i in range(num_layers)]

    def _gains(self, num_layers: int, factor: float) -> Gains:
        gains: Gains = factor * np.exp(-self.feedback.decay * np.arange(num_layers))
        return gains

    def _noise_gain(self, gains: Gains) -> float:
        """Π (1 + Δλ s exp(-βi))."""
        slope = self.dt * self.feedback.eigenvalue
        return math.exp(min(math.fsum(math.log1p(slope * float(g)) for g in gains), 700.0))
