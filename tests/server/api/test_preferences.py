"""Prefer is a list of wishes: those that are understood are followed, the rest is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve_server.api.preferences import Preferences, read_preferences

ASYNC = Preferences(respond_async=True)
PREFERENCES = {
    None: Preferences(),
    "": Preferences(),
    "respond-async": ASYNC,
    "Respond-Async": ASYNC,
    "  respond-async  ": ASYNC,
    'respond-async=""': ASYNC,
    "respond-async; foo=bar": ASYNC,
    "wait=10": Preferences(wait_s=10),
    "WAIT = 10": Preferences(wait_s=10),
    'wait="10"': Preferences(wait_s=10),
    "wait=0": Preferences(wait_s=0),
    "respond-async, wait=10": Preferences(respond_async=True, wait_s=10),
    "handling=lenient, wait=100, respond-async": Preferences(respond_async=True, wait_s=100),
    "wait=3, wait=9": Preferences(wait_s=3),
    'foo="a, respond-async, wait=3"': Preferences(),
    r'foo="a \" , respond-async"': Preferences(),
    'foo="a;b", respond-async': ASYNC,
    "foo; respond-async": Preferences(),
    "respond-async=yes": Preferences(),
    "not-respond-async": Preferences(),
    "respond-asynchronously": Preferences(),
    "wait": Preferences(),
    "wait=": Preferences(),
    "wait=-1": Preferences(),
    "wait=1.5": Preferences(),
    "wait=ten": Preferences(),
    "wait=1e3": Preferences(),
    "wait=٣": Preferences(),
    "wait=" + "9" * 10_000: Preferences(),
    ',,;=,"': Preferences(),
    'respond-async, foo="unfinished': ASYNC,
    "ä=ö, respond-async": ASYNC,
}


@pytest.mark.parametrize(("header", "expected"), PREFERENCES.items(), ids=lambda v: str(v)[:40])
def test_what_is_understood_is_followed(header, expected):
    assert read_preferences(header) == expected


@given(st.text(max_size=200))
def test_noise_is_passed_over(header):
    wait_s = read_preferences(header).wait_s
    assert wait_s is None or 0 <= wait_s < 10**9


@pytest.mark.parametrize(
    ("preferences", "became_job", "applied"),
    [
        (Preferences(), True, ""),
        (ASYNC, True, "respond-async"),
        (ASYNC, False, ""),
        (Preferences(wait_s=5), False, "wait=5"),
        (Preferences(wait_s=5), True, "wait=5"),
        (Preferences(respond_async=True, wait_s=5), True, "respond-async, wait=5"),
        (Preferences(respond_async=True, wait_s=5), False, "wait=5"),
        (Preferences(wait_s=500), True, ""),
    ],
)
def test_what_was_followed_is_told(preferences, became_job, applied):
    assert preferences.applied(became_job=became_job, max_wait_s=300.0) == applied
