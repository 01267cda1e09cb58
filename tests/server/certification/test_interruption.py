"""What does not look at the clock ends all the same; what ended in time is not disturbed."""

import threading
import time

import pytest

from certisolve_server.certification.interruption import OutOfTime, limited


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
    with pytest.raises(OutOfTime), limited(0.05):
        _work()


def test_a_wait_without_end_ends():
    with pytest.raises(OutOfTime), limited(0.05):
        threading.Event().wait(60)


def test_nobody_takes_it_for_an_error_of_theirs():
    with pytest.raises(OutOfTime), limited(0.05):
        _suppress_errors()


def test_what_ends_in_time_is_not_disturbed():
    for _ in range(50):
        with limited(0.001):
            pass
        time.sleep(0.002)


def test_a_limit_may_follow_another():
    for _ in range(3):
        with pytest.raises(OutOfTime), limited(0.02):
            time.sleep(60)
