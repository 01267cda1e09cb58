"""What a session is between two calls."""

from dataclasses import dataclass

from certisolve_server.jobs import Array, ModelKey


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session was opened, with every default filled in.

    Attributes:
        horizon_steps: of the family `feedback-ode`: steps ahead that a forecast can reach.
        gain: of the family `feedback-ode`: factor on the gains of the manifest.
        max_noise_gain: above which a noise gain is refused.
        ttl_s: seconds without a call after which the session is forgotten.
    """

    horizon_steps: int
    gain: float
    max_noise_gain: float
    ttl_s: float


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where a session stands; all that the next call needs, wherever it is answered.

    Attributes:
        model: the very program it began with.
        t: time of the state.
        origin: time at which it was opened.
        steps: of one size, since it was opened; 0 for families without.
        known_at: when the state was last given whole; what came after is forecast.
        blended: whether a measurement since then gave a part of it.
        inputs: as the next job takes them: the present frame, or the last measurement.
        states: as the next job takes them: the memory; of the family `feedback-ode` the layers of
            the cascade, of shape (N + 1, state), and their observers, of shape (N, state).
        parameters: those with `program_input`, in the manifest's order.
        options: how it was opened.
        last_call: digest of the observation that led here, so that it may be sent again; empty
            before the first.
    """

    model: ModelKey
    t: float
    origin: float
    steps: int
    known_at: float
    blended: bool
    inputs: tuple[Array, ...]
    states: tuple[Array, ...]
    parameters: tuple[float, ...]
    options: SessionOptions
    last_call: str = ""

    @property
    def num_bytes(self) -> int:
        """Size of its arrays."""
        return sum(array.nbytes for array in self.inputs + self.states)
