"""When the client tries again, and when it must not."""

import pytest

from certisolve import (
    Cancelled,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
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


def delay(error, *, attempt=1, idempotent=True, uniform=0.0, policy=STEADY):
    return policy.delay(attempt, error, idempotent=idempotent, uniform=uniform)


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


@pytest.mark.parametrize("error", [LOST, NEVER_SENT, FULL, LOADING, A_PROXYS_503])
def test_a_pure_call_is_repeated_when_waiting_may_help(error):
    assert delay(error) is not None


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        pytest.param(NEVER_SENT, True, id="never-sent"),
        pytest.param(FULL, True, id="refused"),
        pytest.param(LOADING, True, id="not-ready"),
        pytest.param(LOST, False, id="connection-lost"),
        pytest.param(A_PROXYS_503, False, id="a-proxy's-503"),
    ],
)
def test_a_submission_is_repeated_only_if_it_surely_was_not_taken(error, repeated):
    assert (delay(error, idempotent=False) is not None) == repeated


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("wrong_shape", ""),
        NotFound("unknown_model", ""),
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


def test_a_lost_submission_is_not_sent_twice(clock):
    script = Script(LOST)
    with pytest.raises(ConnectionFailed):
        open_client(script, clock).submit_solve("double", {"u0": [1.0]})
    assert len(script.calls) == 1


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
