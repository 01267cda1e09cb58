"""Bodies of calls to sessions, without tensors; the OpenAPI document comes from here."""

from pydantic import BaseModel, ConfigDict, Field

from .schemas import Finite, ModelRef


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SessionOptions(_Body):
    """How a session is to go."""

    horizon_steps: int | None = Field(
        default=None,
        description="Feedback models: steps ahead that a forecast can reach; the manifest's when "
        "left out.",
    )
    gain: Finite | None = Field(
        default=None, description="Feedback models: factor on the gains; 1 when left out."
    )
    automatic_gain: bool = Field(
        default=False,
        description="Feedback models: choose the largest gain up to 1 whose noise gain is within "
        "`max_noise_gain`.",
    )
    max_noise_gain: Finite | None = Field(
        default=None,
        description="Feedback models: a larger noise gain is refused; the server's when left out.",
    )
    ttl_s: Finite | None = Field(
        default=None,
        description="Seconds without a call after which the session is forgotten; the server's "
        "when left out.",
    )


class OpenSessionBody(_Body):
    """What a session begins with, without its inputs."""

    model: str = Field(description="Its name.")
    version: str | None = Field(default=None, description="Of the model; the newest when left out.")
    parameters: dict[str, Finite] = Field(
        default_factory=dict, description="Scalars of the equation."
    )
    t: Finite = Field(default=0.0, description="Time of the inputs, by the session's clock.")
    options: SessionOptions = Field(default_factory=SessionOptions)


class ObserveBody(_Body):
    """When something was measured, without what."""

    t: list[Finite] = Field(description="When each was taken, ascending, after the session's time.")


class PredictBody(_Body):
    """What is to be forecast."""

    t: list[Finite] = Field(
        description="Times of the session's clock, ascending, after that of its state."
    )


class Session(_Body):
    """A session as it stands."""

    id: str
    model: ModelRef
    t: float = Field(description="Time of its state.")
    sequence: int = Field(description="Grows by one with each change.")
    state_bytes: int
    expires_in_s: float = Field(description="Until it is forgotten, without a call.")
    gain: float | None = Field(description="Feedback models: factor on the gains.")
    noise_gain: float | None = Field(
        description="Feedback models: by which noise of a measurement is amplified."
    )


class Closed(_Body):
    """Nothing more to say."""
