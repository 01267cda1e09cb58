"""When the client tries again, and when it must not."""

import pytest

from certisolve import (
    Cancelled,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    IdempotencyConflict,
    InternalServerError,
    InvalidReply,
    InvalidRequest,
    JobStatus,
    MockTransport,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    Reply,
    RequestTimeout,
    RetryPolicy,
    Unavailable,
)

LOST = ConnectionFailed("the connection broke")
NEVER_SENT = ConnectionFailed("could not connect", sent=False)
FULL = Overloaded("queue_full", "full", retry_after_s=2.0)
LOADING = Unavailable("model_not_ready", "loading")
NO_QUEUE = Unavailable("queue_unavailable", "Redis does not answer", retry_after_s=1.0)
A_PROXYS_503 = Unavailable("", "Service Unavailable", status=503)
STEADY = RetryPolicy(jitter=0.0)


class Script:
    """Raises the given errors in turn, then accepts; keeps the calls."""

    def __init__(self, *errors):
        self._errors = list(errors)
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        if self._errors:
            raise self._errors.pop(0)
        return Reply({}, {"id": "job", "status": "queued", "models": []})


def open_client(script, clock, **options):
    options.setdefault("retry", STEADY)
    return Client("http://unused", transport=MockTransport(script), clock=clock, **options)


def delay(error, *, attempt=1, uniform=0.0, policy=STEADY):
    return policy.delay(attempt, error, uniform=uniform)


def test_pauses_double_up_to_the_longest():
    policy = RetryPolicy(max_attempts=9, jitter=0.0, base_delay_s=0.1, max_delay_s=0.5)
    delays = [delay(LOST, attempt=n, policy=policy) for n in (1, 2, 3, 4, 8)]
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_jitter_shortens_a_pause_by_at_most_its_share():
    policy = RetryPolicy(jitter=0.5)
    assert delay(LOST, uniform=0.0, policy=policy) == pytest.approx(0.1)
    assert delay(LOST, uniform=0.999, policy=policy) == pytest.approx(0.05, rel=0.01)


def test_retry_after_is_a_lower_bound_whatever_the_jitter():
    policy = RetryPolicy(jitter=1.0, max_delay_s=0.1)
    assert delay(FULL, uniform=0.999, policy=policy) >= 2.0


def test_the_last_attempt_is_the_last():
    assert delay(LOST, attempt=4) is None


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LOST, id="connection-lost"),
        pytest.param(NEVER_SENT, id="never-sent"),
        pytest.param(FULL, id="queue-full"),
        pytest.param(LOADING, id="not-ready"),
        pytest.param(NO_QUEUE, id="queue-out-of-reach"),
        pytest.param(A_PROXYS_503, id="a-proxy's-503"),
    ],
)
def test_a_call_is_repeated_when_waiting_may_help(error):
    assert delay(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("wrong_shape", ""),
        NotFound("unknown_model", ""),
        IdempotencyConflict("idempotency_conflict", ""),
        PayloadTooLarge("body_too_large", ""),
        DeadlineExceeded("deadline_exceeded", ""),
        Cancelled("cancelled", ""),
        InternalServerError("internal", ""),
        RequestTimeout(),
        InvalidReply(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_does_not_mend_is_not_repeated(error):
    assert delay(error) is None


@pytest.mark.parametrize(
    "options",
    [{"max_attempts": 0}, {"base_delay_s": -1.0}, {"max_delay_s": -1.0}, {"jitter": 1.5}],
    ids=str,
)
def test_a_policy_that_cannot_be_followed_is_refused(options):
    with pytest.raises(ValueError, match="must"):
        RetryPolicy(**options)


def test_the_client_pauses_as_the_policy_says(clock):
    script = Script(LOST, FULL, LOST)
    assert open_client(script, clock).models() == []
    assert clock.naps == pytest.approx([0.1, 2.2, 0.4])


def test_every_attempt_gets_the_time_that_is_left(clock):
    script = Script(FULL, FULL)
    open_client(script, clock, timeout=10.0).models()
    assert [call.timeout_s for call in script.calls] == pytest.approx([10.0, 7.9, 5.7])


def test_no_pause_outlasts_the_callers_time(clock):
    script = Script(FULL, FULL, FULL)
    with pytest.raises(Overloaded):
        open_client(script, clock, timeout=3.0).models()
    assert clock.naps == pytest.approx([2.1])


def test_without_a_limit_every_attempt_is_unlimited(clock):
    script = Script(LOST, LOST)
    open_client(script, clock, timeout=None).models()
    assert [call.timeout_s for call in script.calls] == [None, None, None]


def test_a_lost_submission_is_repeated_under_the_same_key(clock):
    script = Script(LOST, A_PROXYS_503)
    open_client(script, clock).submit_solve("double", {"u0": [1.0]})
    keys = [call.idempotency_key for call in script.calls]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


def test_every_submission_draws_its_own_key(clock):
    script = Script()
    client = open_client(script, clock)
    for _ in range(2):
        client.submit_solve("double", {"u0": [1.0]})
    first, second = script.calls
    assert first.idempotency_key != second.idempotency_key


def test_a_poll_over_a_broken_connection_is_repeated(clock):
    script = Script(LOST, NEVER_SENT)
    assert open_client(script, clock).job("job").status() is JobStatus.QUEUED
    assert len(script.calls) == 3


def test_a_server_that_does_not_wait_is_not_flooded_with_polls(clock):
    script = Script()
    with pytest.raises(RequestTimeout):
        open_client(script, clock).job("job").wait(timeout=1.0)
    assert len(script.calls) <= 12


def test_a_poll_may_take_the_clients_time_beyond_its_wait(clock):
    script = Script()
    with pytest.raises(RequestTimeout):
        open_client(script, clock, timeout=5.0).job("job").wait(timeout=0)
    assert (script.calls[0].wait_s, script.calls[0].timeout_s) == (0.0, 5.0)
