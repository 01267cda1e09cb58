"""The exceptions users catch."""

import pickle

import pytest

import certisolve
from certisolve import (
    Cancelled,
    CertisolveError,
    ConnectionFailed,
    DeadlineExceeded,
    InternalServerError,
    InvalidReply,
    InvalidRequest,
    MissingDependency,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    ServerError,
    Unavailable,
    from_problem,
)
from certisolve._errors import _BY_CODE
from certisolve_server.errors import ErrorCode

EXAMPLES = [
    ConnectionFailed("could not connect", sent=False),
    RequestTimeout("no answer"),
    InvalidReply("nonsense"),
    MissingDependency("pip install it"),
    Overloaded("queue_full", "full", "", 1.5, 429),
    InvalidRequest("wrong_shape", "rank 1 expected", "inputs.u0", None, 422),
]


def test_every_code_of_the_server_has_a_class():
    assert {code.value for code in ErrorCode} <= _BY_CODE.keys()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (None, ServerError),
        (400, InvalidRequest),
        (401, InvalidRequest),
        (404, NotFound),
        (408, DeadlineExceeded),
        (413, PayloadTooLarge),
        (422, InvalidRequest),
        (429, Overloaded),
        (499, Cancelled),
        (500, InternalServerError),
        (501, InternalServerError),
        (502, Unavailable),
        (503, Unavailable),
        (504, DeadlineExceeded),
    ],
)
def test_an_unknown_code_falls_into_the_class_of_its_status(status, kind):
    assert type(from_problem("of_next_year", "", status=status)) is kind


def test_a_known_code_outranks_its_status():
    assert type(from_problem("queue_full", "", status=500)) is Overloaded


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_exceptions_survive_a_trip_to_another_process(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))
    assert copy.__dict__ == error.__dict__


def test_a_message_names_code_and_field():
    error = InvalidRequest("wrong_shape", "rank 1 expected", "inputs.u0")
    assert str(error) == "[wrong_shape inputs.u0] rank 1 expected"


def test_python_programs_catch_what_they_know():
    assert issubclass(ConnectionFailed, ConnectionError)
    assert issubclass(RequestTimeout, TimeoutError)
    assert issubclass(MissingDependency, ImportError)


def test_every_exception_has_one_base_and_is_drawn_in_the_tree():
    exported = [getattr(certisolve, name) for name in certisolve.__all__]
    kinds = [k for k in exported if isinstance(k, type) and issubclass(k, Exception)]
    assert all(issubclass(kind, CertisolveError) for kind in kinds)
    assert all(kind.__name__ in certisolve._errors.__doc__ for kind in kinds)
