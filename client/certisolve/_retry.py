"""When to try again; pure: time and randomness are arguments."""

import dataclasses
import math
from dataclasses import dataclass

from ._calls import Call
from ._errors import CertisolveError, ServerError


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Every call is safe to repeat after a lost answer: a solve is a pure function of its request,
    and a submission carries a key under which the server starts one job, however often it comes.

    Attributes:
        max_attempts: tries in all; 1 never repeats.
        base_delay_s: pause after the first failure; doubles with each further one.
        max_delay_s: longest pause of the back-off. A server may ask for more with Retry-After.
        jitter: share of the pause that is random, in [0, 1], so that many clients that failed
            together do not return together.
    """

    max_attempts: int = 4
    base_delay_s: float = 0.1
    max_delay_s: float = 5.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be followed."""
        if self.max_attempts < 1 or self.base_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError("max_attempts must be at least 1, delays must not be negative")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must lie in [0, 1]")

    def delay(self, attempt: int, error: CertisolveError, *, uniform: float) -> float | None:
        """Seconds to wait before the next attempt, or None to give up.

        Args:
            attempt: how many attempts have failed, the first is 1.
            error: how the last one failed.
            uniform: a random number in [0, 1).
        """
        if attempt >= self.max_attempts or not error.retryable:
            return None
        longest = min(self.max_delay_s, self.base_delay_s * 2.0 ** (attempt - 1))
        # Added rather than compared: all who were told "1 s" would otherwise return together.
        return _retry_after(error) + longest * (1.0 - self.jitter * uniform)


class Attempts:
    """One call's tries within its total time."""

    def __init__(self, call: Call, policy: RetryPolicy, now: float) -> None:
        self._call = call
        self._policy = policy
        self._failed = 0
        self._deadline = math.inf if call.timeout_s is None else now + call.timeout_s

    def next_call(self, now: float) -> Call:
        """The call with the time that is left to it."""
        if self._failed == 0 or self._call.timeout_s is None:
            return self._call
        return dataclasses.replace(self._call, timeout_s=self._deadline - now)

    def delay_after(self, error: CertisolveError, now: float, uniform: float) -> float | None:
        """Seconds to wait before `next_call`; None when `error` is final or time would be up."""
        self._failed += 1
        delay_s = self._policy.delay(self._failed, error, uniform=uniform)
        return None if delay_s is None or now + delay_s >= self._deadline else delay_s


def _retry_after(error: CertisolveError) -> float:
    asked = error.retry_after_s if isinstance(error, ServerError) else None
    return asked or 0.0
