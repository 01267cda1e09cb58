"""A certificate answers again whatever it answers as well as a new search would."""

import json

import pytest

from certisolve_server.certification.cache import CertificateCache


def search(budget_s=10.0, gap=1.001, max_splits=None):
    return {"budget_s": budget_s, "gap": gap, "max_splits": max_splits, "seed": 0}


def document(upper=2.0, lower=1.0, status="budget_exhausted", **more) -> bytes:
    said = {"upper": upper, "lower": lower, "status": status, **more}
    return json.dumps(said).encode()


@pytest.fixture
def cache() -> CertificateCache:
    return CertificateCache(1 << 20)


def test_a_search_as_long_is_not_made_again(cache):
    found = document()
    assert cache.put("q", search(), found) == found
    assert cache.find("q", search(budget_s=10.0)) == found
    assert cache.find("q", search(budget_s=1.0)) == found
    assert cache.find("q", search(budget_s=11.0)) is None
    assert cache.find("other", search()) is None


def test_a_gap_that_is_reached_answers_any_budget(cache):
    cache.put("q", search(gap=2.0), document(status="certified"))
    assert cache.find("q", search(budget_s=600.0, gap=2.0)) is not None
    assert cache.find("q", search(budget_s=600.0, gap=1.5)) is None
    assert cache.find("q", search(budget_s=5.0, gap=1.5)) is not None


def test_a_search_with_nothing_left_to_do_answers_any_other(cache):
    cache.put("q", search(), document(status="certified"))
    assert cache.find("q", search(budget_s=600.0, gap=1.0)) is not None


def test_a_longer_search_that_reached_its_own_gap_has_not_done_all(cache):
    best = document(upper=1.9, lower=0.5, status="certified")
    cache.put("q", search(budget_s=1.0, gap=4.0), best)
    reached = document(upper=2.0, lower=1.9, status="certified")
    assert cache.put("q", search(budget_s=20.0, gap=1.1), reached) == best
    assert cache.find("q", search(budget_s=20.0)) == best
    assert cache.find("q", search(budget_s=600.0)) is None


def test_fewer_cuts_answer_no_question_with_more(cache):
    cache.put("q", search(max_splits=10), document())
    assert cache.find("q", search(max_splits=10)) is not None
    assert cache.find("q", search(max_splits=11)) is None
    assert cache.find("q", search()) is None


def test_no_bound_is_an_answer_to_shorter_searches_alone(cache):
    cache.put("q", search(), document(upper=None, lower=0.0, status="unbounded"))
    assert cache.find("q", search(budget_s=9.0)) is not None
    assert cache.find("q", search(budget_s=600.0)) is None


def test_the_best_certificate_stays(cache):
    good, worse = document(upper=1.5), document(upper=1.6, name="later")
    cache.put("q", search(), good)
    assert cache.put("q", search(budget_s=20.0), worse) == good
    assert cache.find("q", search(budget_s=20.0)) == good
    better = document(upper=1.4)
    assert cache.put("q", search(budget_s=1.0), better) == better
    assert cache.find("q", search(budget_s=1.0)) == better


def test_the_least_recently_used_is_forgotten_first():
    found = document()
    cache = CertificateCache(2 * len(found))
    for key in "ab":
        cache.put(key, search(), found)
    assert cache.find("a", search()) is not None
    cache.put("c", search(), found)
    assert [key for key in "abc" if cache.find(key, search())] == ["a", "c"]


def test_without_room_nothing_is_kept():
    cache = CertificateCache(0)
    assert cache.put("q", search(), document()) == document()
    assert len(cache) == 0


def test_a_search_that_was_cut_short_is_made_again(cache):
    cache.put("q", search(), document(methods={"search": "was cut short: its process died"}))
    assert cache.find("q", search(budget_s=1.0)) is None
    assert cache.find("q", search(gap=2.0)) is not None
