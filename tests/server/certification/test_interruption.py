"""What does not look at the clock ends all the same; what ended in time is not disturbed."""

import contextlib
import threading
import time

import pytest

from certisolve_server.certification.interruption import Limits, OutOfTime


def _work() -> None:
    while True:
        pass


def _suppress_errors() -> None:
    while True:
        try:
            time.sleep(60)
        except Exception:
            pytest.fail("it was taken for an error")


def test_work_without_end_ends():
    with pytest.raises(OutOfTime), Limits().hold(0.05):
        _work()


def test_a_wait_without_end_ends():
    with pytest.raises(OutOfTime), Limits().hold(0.05):
        threading.Event().wait(60)


def test_nobody_takes_it_for_an_error_of_theirs():
    with pytest.raises(OutOfTime), Limits().hold(0.05):
        _suppress_errors()


def test_what_ends_in_time_is_not_disturbed():
    limits = Limits()
    for _ in range(50):
        with contextlib.suppress(OutOfTime), limits.hold(0.001):
            pass
        time.sleep(0.002)


def test_a_limit_may_follow_another():
    for _ in range(3):
        with pytest.raises(OutOfTime), Limits().hold(0.02):
            time.sleep(60)


def test_of_limits_within_each_other_each_ends_its_own():
    limits = Limits()
    with limits.hold(60.0) as outer:
        for _ in range(3):
            with pytest.raises(OutOfTime) as raised, limits.hold(0.02) as inner:
                _work()
            assert raised.value.limit is inner
    with pytest.raises(OutOfTime) as raised, limits.hold(0.05) as outer, limits.hold(60.0):
        _work()
    assert raised.value.limit is outer
