"""Sends a call as often as it takes."""

import random
from collections.abc import Awaitable, Callable

from ._calls import Call, Reply
from ._clock import Clock
from ._errors import CertisolveError
from ._retry import Attempts, RetryPolicy


def sender(
    send: Callable[[Call], Reply], retry: RetryPolicy, clock: Clock
) -> Callable[[Call], Reply]:
    """A function that sends a call, and again as the policy says, within the call's time.

    Args:
        send: one attempt.
        retry: when to try again.
        clock: of the call's time.
    """

    def persistently(call: Call) -> Reply:
        attempts = Attempts(call, retry, clock.monotonic())
        while True:
            try:
                return send(attempts.next_call(clock.monotonic()))
            except CertisolveError as error:
                delay_s = attempts.delay_after(error, clock.monotonic(), random.random())
                if delay_s is None:
                    raise
            clock.sleep(delay_s)

    return persistently


def asender(
    send: Callable[[Call], Awaitable[Reply]], retry: RetryPolicy, clock: Clock
) -> Callable[[Call], Awaitable[Reply]]:
    """As `sender`, with `await`."""

    async def persistently(call: Call) -> Reply:
        attempts = Attempts(call, retry, clock.monotonic())
        while True:
            try:
                return await send(attempts.next_call(clock.monotonic()))
            except CertisolveError as error:
                delay_s = attempts.delay_after(error, clock.monotonic(), random.random())
                if delay_s is None:
                    raise
            await clock.asleep(delay_s)

    return persistently
