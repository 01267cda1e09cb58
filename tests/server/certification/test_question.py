"""A request for a certificate survives its way through a queue, and is known again."""

import math

import numpy as np
import pytest

from certify_requests import CENTER, certify_request
from certisolve_server.certification import question
from certisolve_server.certification.request import BallDomain, BoxDomain, GlobalDomain
from certisolve_server.jobs import ModelKey

MODEL = ModelKey("double", "1", "digest")
DOMAINS = {
    "ball": BallDomain({"u0": CENTER}, 0.1 + 1e-17, "grid_l2"),
    "cut ball": BallDomain({"u0": CENTER}, 0.3, "l1", {"u0": CENTER - 0.1}, {"u0": CENTER + 1}),
    "box": BoxDomain({"u0": CENTER}, {"u0": CENTER + 1}),
    "everything": GlobalDomain(),
}


def assert_same(one, other) -> None:
    """Every array equal to the last bit."""
    for name in one.__slots__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if name == "domain":
            assert type(mine) is type(theirs)
            if not isinstance(mine, GlobalDomain):
                assert_same(mine, theirs)
        elif isinstance(mine, dict):
            assert mine.keys() == theirs.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], theirs[key], strict=True)
        else:
            assert mine == theirs, name


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_is_asked_is_what_arrives(domain):
    asked = certify_request(
        domain=DOMAINS[domain],
        version="1",
        inputs={"a": np.float32([1, 2])},
        parameters={"nu": 0.1},
        resolution=(16,),
        input_norm="l1",
        output_norm="linf",
        input_scale={"u0": np.float64(2.0) * np.ones(())},
        output_scale={"u": np.array([0.1, math.pi])},
        output="u",
        component=3,
        soundness="float",
        budget_s=0.1,
        gap=1.5,
        max_splits=7,
        steps=2,
        t=0.25,
        seed=(1 << 63) - 1,
    )
    assert_same(asked, question.decode(question.encode(asked)))


def key(**changes) -> str:
    return question.key(question.encode(certify_request(**changes)), MODEL, "certifier 1")


def test_how_to_search_is_no_part_of_the_question():
    searches = {"budget_s": 99.0, "gap": 3.0, "max_splits": 1, "seed": 5}
    assert key(**searches) == key()


DIFFERENT = {
    "radius": {"domain": BallDomain({"u0": CENTER}, math.nextafter(0.1, 1), "linf")},
    "center": {"domain": BallDomain({"u0": np.nextafter(CENTER, 2)}, 0.1, "linf")},
    "set": {"domain": BoxDomain({"u0": CENTER}, {"u0": CENTER})},
    "norm": {"output_norm": "l1"},
    "scale": {"output_scale": {"u": np.array(2.0)}},
    "output": {"output": "u"},
    "component": {"component": 0},
    "level": {"soundness": "float"},
    "steps": {"steps": 2},
    "parameter": {"parameters": {"nu": 0.1}},
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_question_has_another_key(case):
    assert key(**DIFFERENT[case]) != key()


def test_another_program_or_certifier_has_another_key():
    asked = question.encode(certify_request())
    keys = {
        question.key(asked, MODEL, "certifier 1"),
        question.key(asked, MODEL._replace(digest="other"), "certifier 1"),
        question.key(asked, MODEL, "certifier 2"),
    }
    assert len(keys) == 3


def test_the_digest_of_a_submission_covers_the_search():
    asked, longer = (question.encode(certify_request(budget_s=s)) for s in (1.0, 2.0))
    assert question.digest(asked) == question.digest(question.encode(certify_request(budget_s=1.0)))
    assert question.digest(asked) != question.digest(longer)


@pytest.mark.parametrize("text", ["", "{}", "null", '{"domain": {"kind": "cone"}}'])
def test_a_damaged_question_is_none(text):
    with pytest.raises((LookupError, TypeError, ValueError)):
        question.decode(question.Question(text, ()))
