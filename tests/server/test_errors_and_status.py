"""Every error has one stable code, and every code one sensible status in both protocols."""

from pathlib import Path

import grpc
import pytest

from certisolve_server import errors
from certisolve_server.api.problems import problem_document, problem_response
from certisolve_server.api.status import STATUS
from certisolve_server.errors import (
    ErrorCode,
    InternalError,
    InvalidRequest,
    NotFound,
    QueueFull,
    ServingError,
)


def family(root):
    return [root, *(child for direct in root.__subclasses__() for child in family(direct))]


ALL = [kind for kind in family(ServingError) if kind.__module__ == errors.__name__]
#: Bases that no code of their own belongs to, and the leaf that carries it.
SHARED = {
    ErrorCode.MALFORMED_BODY: {"InvalidRequest", "MalformedBody"},
    ErrorCode.INTERNAL: {"ServingError", "InternalError"},
}


def test_every_code_has_a_status():
    assert set(STATUS) == set(ErrorCode)


def test_no_two_errors_share_a_code():
    by_code = {}
    for kind in ALL:
        by_code.setdefault(kind.code, set()).add(kind.__name__)
    shared = {code: names for code, names in by_code.items() if len(names) > 1}
    assert shared == SHARED


def test_every_code_is_that_of_an_error():
    assert {kind.code for kind in ALL} == set(ErrorCode)


@pytest.mark.parametrize("kind", family(InvalidRequest), ids=lambda kind: kind.__name__)
def test_the_callers_mistake_is_never_the_servers_fault(kind):
    status = STATUS[kind.code]
    assert 400 <= status.http < 500
    assert status.http not in (404, 405, 408, 409, 429)
    assert status.grpc in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


@pytest.mark.parametrize("kind", family(NotFound), ids=lambda kind: kind.__name__)
def test_what_is_not_there_is_404(kind):
    assert STATUS[kind.code] == (404, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    ("code", "http", "name"),
    [
        ("queue_full", 429, "RESOURCE_EXHAUSTED"),
        ("queue_unavailable", 503, "UNAVAILABLE"),
        ("idempotency_conflict", 409, "ALREADY_EXISTS"),
        ("dead_lettered", 500, "INTERNAL"),
        ("model_not_ready", 503, "UNAVAILABLE"),
        ("shutting_down", 503, "UNAVAILABLE"),
        ("deadline_exceeded", 504, "DEADLINE_EXCEEDED"),
        ("internal", 500, "INTERNAL"),
        ("body_too_large", 413, "RESOURCE_EXHAUSTED"),
        ("unsupported_media_type", 415, "INVALID_ARGUMENT"),
    ],
)
def test_a_status_that_clients_act_upon_is_fixed(code, http, name):
    assert STATUS[ErrorCode(code)] == (http, grpc.StatusCode[name])


def test_no_error_is_a_success():
    for status in STATUS.values():
        assert status.http >= 400
        assert status.grpc is not grpc.StatusCode.OK


def test_only_a_defect_of_ours_is_500():
    codes = {code for code, status in STATUS.items() if status.http == 500}
    assert codes == {kind.code for kind in family(InternalError)}


@pytest.mark.parametrize("code", [code for code, status in STATUS.items() if status.http == 503])
def test_what_may_succeed_later_is_unavailable_in_both_protocols(code):
    assert STATUS[code].grpc is grpc.StatusCode.UNAVAILABLE


def test_a_full_queue_says_to_the_point_when_there_is_room():
    error = QueueFull("9 requests are waiting", retry_after_s=0.4321)
    assert problem_document(error)["detail"] == "9 requests are waiting; expect room in 0.43 s"
    assert problem_document(error)["retry_after_s"] == 0.4321
    assert problem_response(error).headers["retry-after"] == "1"
    assert problem_response(QueueFull("", retry_after_s=2.01)).headers["retry-after"] == "3"
    assert problem_document(QueueFull("full"))["detail"] == "full"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_makes_a_problem_document(kind):
    document = problem_document(kind("what to do", field="inputs.u0", retry_after_s=1.5))
    assert document["code"] == str(kind.code)
    assert document["type"] == f"urn:certisolve:error:{kind.code}"
    assert document["status"] == STATUS[kind.code].http
    assert document["title"]
    assert document["detail"].startswith("what to do")
    assert document["field"] == "inputs.u0"
    assert document["retry_after_s"] == 1.5


def test_a_problem_document_leaves_out_what_does_not_apply():
    assert problem_document(NotFound("nothing")).keys() == {
        "type",
        "title",
        "status",
        "detail",
        "code",
    }


def test_every_code_has_its_row_on_the_page_of_errors():
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    assert [code for code in ErrorCode if f"`{code}`" not in page] == []
