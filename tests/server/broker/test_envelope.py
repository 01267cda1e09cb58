"""Jobs and answers survive the way through a queue unchanged, and nothing else is taken for one."""

import contextlib
import math
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certisolve import wire
from certisolve_server.broker.envelope import (
    decode_error,
    decode_frame,
    decode_job,
    decode_outcome,
    encode_error,
    encode_frame,
    encode_job,
    encode_outcome,
)
from certisolve_server.errors import ErrorCode, InternalError, OutOfRange, ServingError, error_of
from certisolve_server.jobs import (
    Frame,
    ModelKey,
    Outcome,
    Priority,
    SolveContext,
    SolveJob,
    Terms,
    Timings,
    Work,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
arrays = st.lists(
    st.sampled_from(list(wire.DTYPES.values())).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    max_size=3,
).map(tuple)
models = st.builds(ModelKey, st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
sizes = st.dictionaries(st.text(max_size=4), st.integers(1, 10**6), max_size=3)
contexts = st.builds(
    SolveContext,
    t=st.lists(finite, max_size=3).map(tuple),
    sizes=sizes,
    resampled_from=st.none() | sizes,
    expected_error=st.none() | finite,
    diagnostics=st.booleans(),
    out_of_range=st.lists(st.sampled_from(["resolution", "horizon"]), unique=True).map(tuple),
)
works_of_release_0_3 = st.builds(
    Work,
    steps=st.lists(st.integers(1, 4096), max_size=4).map(tuple),
    tolerance=st.none() | finite,
    checks=st.booleans(),
)
works = works_of_release_0_3 | st.builds(
    Work,
    kind=st.sampled_from(["solve", "jvp", "vjp"]),
    steps=st.lists(st.integers(1, 4096), max_size=4).map(tuple),
    t=st.lists(finite, max_size=4).map(tuple),
    rtol=st.none() | finite,
    atol=st.none() | finite,
    stream=st.booleans(),
    keeps_states=st.booleans(),
    interval=st.none() | finite,
    gain=finite,
)
jobs = st.builds(
    SolveJob,
    id=st.text(max_size=8),
    model=models,
    inputs=arrays,
    parameters=st.lists(finite, max_size=3).map(tuple),
    submitted_at=finite,
    context=contexts,
    terms=st.builds(
        Terms,
        deadline=st.none(),
        tenant=st.text(max_size=8),
        priority=st.sampled_from(Priority),
        traceparent=st.text(max_size=8),
    ),
    work=works,
    states=arrays,
    directions=arrays,
)
outcomes = st.builds(
    Outcome,
    model=models,
    outputs=arrays,
    finite=st.booleans(),
    timings=st.builds(Timings, finite, finite, finite),
    batch_size=st.integers(1, 512),
    context=contexts,
    findings=st.dictionaries(st.sampled_from(["residual", "nfe", "converged"]), finite),
    t=st.none() | st.lists(finite, max_size=3).map(tuple),
    ending=st.none() | st.sampled_from(["diverged", "max_steps", "dt_underflow"]),
    states=arrays,
)
frames = st.builds(Frame, index=st.integers(0, 4096), t=finite, outputs=arrays)


def same(actual, expected) -> bool:
    pairs = list(zip(actual, expected, strict=True))
    # Bit for bit: NaN is not equal to itself, and -0.0 is equal to 0.0.
    return all((a.dtype, a.shape, a.tobytes()) == (e.dtype, e.shape, e.tobytes()) for a, e in pairs)


@given(jobs, st.none() | finite)
def test_a_job_arrives_as_it_was_sent(job, deadline):
    read = decode_job(encode_job(job).to_bytes(), deadline)
    for name in ("inputs", "states", "directions"):
        assert same(getattr(read, name), getattr(job, name))
    assert read.lane == job.lane
    assert read.terms.deadline == deadline
    for name in ("id", "model", "parameters", "submitted_at", "context", "work"):
        assert getattr(read, name) == getattr(job, name)
    for name in ("tenant", "priority", "traceparent"):
        assert getattr(read.terms, name) == getattr(job.terms, name)


@given(outcomes)
def test_an_answer_arrives_as_it_was_computed(outcome):
    read = decode_outcome(encode_outcome(outcome).to_bytes())
    assert same(read.outputs, outcome.outputs)
    assert same(read.states, outcome.states)
    for name in ("model", "finite", "timings", "batch_size", "context", "findings", "t", "ending"):
        assert getattr(read, name) == getattr(outcome, name)


@given(frames)
def test_a_frame_arrives_as_it_was_computed(frame):
    read = decode_frame(encode_frame(frame).to_bytes())
    assert same(read.outputs, frame.outputs)
    assert (read.index, read.t) == (frame.index, frame.t)


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_arrives_under_its_code(code):
    error = decode_error(encode_error(error_of(code, "what", "inputs.u0", 2.5)))
    assert (error.code, error.detail, error.field, error.retry_after_s) == (
        code,
        "what",
        "inputs.u0",
        2.5,
    )


def test_an_error_keeps_its_class():
    assert type(decode_error(encode_error(OutOfRange("too large")))) is OutOfRange


def test_an_error_of_a_newer_release_is_an_internal_one():
    error = error_of("of_tomorrow", "what", "", None)
    assert isinstance(error, ServingError)
    assert error.code is ErrorCode.INTERNAL


def test_arrays_are_views_of_the_record():
    sent = Outcome(
        ModelKey("m", "1"),
        (np.arange(4, dtype=np.float64),),
        True,
        Timings(0, 0, 0),
        1,
        SolveContext((), {}, None, None, True),
    )
    (read,) = decode_outcome(encode_outcome(sent).to_bytes()).outputs
    assert not read.flags.owndata
    assert read.flags.aligned


@given(st.binary(max_size=64))
def test_anything_else_is_a_damaged_record(record):
    with pytest.raises(InternalError):
        decode_outcome(record)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | finite | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
#: What a queue holds, and what reads it.
RECORDS = {
    "job": (lambda: encode_job(JOB).to_bytes(), lambda record: decode_job(record, None)),
    "answer": (lambda: encode_outcome(OUTCOME).to_bytes(), decode_outcome),
    "frame": (lambda: encode_frame(Frame(0, 0.5, JOB.inputs)).to_bytes(), decode_frame),
}


@pytest.mark.parametrize(("encode", "decode"), RECORDS.values(), ids=RECORDS)
@given(data=st.data())
def test_whatever_a_header_says_is_read_or_is_damage(encode, decode, data):
    # One that could raise anything else would end the task that reads for everybody.
    def change(header):
        name = data.draw(st.sampled_from(sorted(header)))
        header[name] = data.draw(json_values)

    with contextlib.suppress(InternalError):
        decode(_changed(encode(), change))


@given(json_values)
def test_an_error_that_cannot_be_read_is_an_internal_one(value):
    with contextlib.suppress(InternalError):
        assert isinstance(decode_error(orjson.dumps(value)), ServingError)


@given(outcomes.filter(lambda outcome: any(o.size for o in outcome.outputs)), st.data())
def test_a_record_that_is_cut_short_is_damaged(outcome, data):
    record = encode_outcome(outcome).to_bytes()
    with pytest.raises(InternalError):
        decode_outcome(record[: data.draw(st.integers(0, len(record) - 1))])


@pytest.mark.parametrize("groups", [[2], [1, 1], [0, 0], [2, -1], "1 0", [0.5, 0.5]])
def test_arrays_in_groups_that_do_not_add_up_are_damage(groups):
    record = _changed(
        encode_outcome(OUTCOME).to_bytes(), lambda header: header.update(groups=groups)
    )
    with pytest.raises(InternalError, match="damaged"):
        decode_outcome(record)


def test_what_a_newer_release_asks_for_is_an_error_and_not_another_request():
    record = _changed(encode_job(JOB).to_bytes(), lambda header: header["work"].update(new=1))
    with pytest.raises(InternalError):
        decode_job(record, None)


def test_a_record_of_another_version_is_refused():
    record = b"\x08\0\0\0\0\0\0\0" + b'{"v":9} '
    with pytest.raises(InternalError, match="version 9"):
        decode_outcome(record)


# --- Findings, and records of the release before --------------------------------------------------

OUTCOME = Outcome(
    ModelKey("m", "1"),
    (np.arange(4, dtype=np.float64),),
    True,
    Timings(0, 0, 0),
    1,
    SolveContext((0.1,), {"x": 4}, None, 0.01, True),
    {"residual": 0.5, "nfe": 3.0},
)
JOB = SolveJob("id", ModelKey("m", "1"), OUTCOME.outputs, (), 1.0, OUTCOME.context)


def _changed(record, change):
    """A record with another header."""
    length = int.from_bytes(record[:8], "little")
    header = orjson.loads(record[8 : 8 + length])
    change(header)
    text = orjson.dumps(header)
    padded = text.ljust(-(-(8 + len(text)) // 16) * 16 - 8)
    return len(padded).to_bytes(8, "little") + padded + record[8 + length :]


def _before(header):
    """As release 0.2 wrote it."""
    for key in ("work", "findings"):
        header.pop(key, None)
    header["context"].pop("out_of_range", None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_finding_that_is_no_number_arrives_as_nan(value):
    sent = replace(OUTCOME, findings={"residual": value, "nfe": 3.0})
    read = decode_outcome(encode_outcome(sent).to_bytes()).findings
    assert math.isnan(read["residual"])
    assert read["nfe"] == 3.0


def test_a_job_of_the_release_before_wants_what_all_did():
    record = _changed(encode_job(JOB).to_bytes(), _before)
    read = decode_job(record, None)
    assert read.work == Work()
    assert read.context == JOB.context


def test_an_answer_of_the_release_before_has_no_findings():
    read = decode_outcome(_changed(encode_outcome(OUTCOME).to_bytes(), _before))
    assert (read.findings, read.context) == ({}, OUTCOME.context)
    assert same(read.outputs, OUTCOME.outputs)


def test_a_resampled_answer_of_the_release_before_is_out_of_range():
    context = replace(OUTCOME.context, resampled_from={"x": 5}, out_of_range=("resolution",))
    record = encode_outcome(replace(OUTCOME, context=context)).to_bytes()
    assert decode_outcome(_changed(record, _before)).context.out_of_range == ("resolution",)


@given(works_of_release_0_3)
def test_release_0_3_reads_what_it_could_have_asked(work):
    headers = []
    _changed(encode_job(replace(JOB, work=work)).to_bytes(), headers.append)
    _changed(encode_outcome(OUTCOME).to_bytes(), headers.append)
    assert [header["v"] for header in headers] == [1, 1]
    assert headers[0]["work"].keys() == {"steps", "tolerance", "checks"}


NEW_JOBS = {
    "work": replace(JOB, work=Work(stream=True)),
    "states": replace(JOB, states=JOB.inputs),
    "directions": replace(JOB, directions=JOB.inputs),
}
NEW_OUTCOMES = {
    "times": replace(OUTCOME, t=(0.1,)),
    "ending": replace(OUTCOME, ending="diverged"),
    "states": replace(OUTCOME, states=OUTCOME.outputs),
}


@pytest.mark.parametrize(
    "record",
    [encode_job(job) for job in NEW_JOBS.values()]
    + [encode_outcome(outcome) for outcome in NEW_OUTCOMES.values()],
    ids=[*(f"job-{name}" for name in NEW_JOBS), *(f"answer-{name}" for name in NEW_OUTCOMES)],
)
def test_release_0_3_refuses_by_version_what_it_would_take_for_something_else(record):
    headers = []
    _changed(record.to_bytes(), headers.append)
    assert headers[0]["v"] == 2


@pytest.mark.parametrize("resampled_from", [None, {"x": 5}])
def test_the_release_before_reads_what_it_could_have_asked(resampled_from):
    # It takes the keys of a context as they come, and stumbles over one that it does not know.
    out_of_range = ("resolution",) if resampled_from else ()
    context = replace(OUTCOME.context, resampled_from=resampled_from, out_of_range=out_of_range)
    headers = []
    for record in (
        encode_job(replace(JOB, context=context)),
        encode_outcome(replace(OUTCOME, context=context)),
    ):
        _changed(record.to_bytes(), headers.append)
    keys = {"t", "sizes", "resampled_from", "expected_error", "diagnostics"}
    assert all(header["context"].keys() == keys for header in headers)
