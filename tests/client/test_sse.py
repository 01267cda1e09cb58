"""Server-sent events, however they arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve._transports._sse import Event, EventParser

STREAM = (
    b"\xef\xbb\xbf: welcome\r\n"
    b"event: status\r\nid: 1\r\ndata: {}\r\n\r\n"
    b"data: one\ndata:two\ndata:  three\n\n"
    b"event: gone without data\n\n"
    b"\r\r"
    b"event:succeeded\rretry: 5\rdata: \xe2\x82\xac\runknown: x\r\r"
    b"data\n\n"
    b"event: cut short\ndata: lost"
)
EVENTS = [
    Event("status", "{}"),
    Event("message", "one\ntwo\n three"),
    Event("succeeded", "€"),
    Event("message", ""),
]


def parse(*chunks):
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_comments_line_ends_and_many_data_lines_are_read_as_the_standard_says():
    assert parse(STREAM) == EVENTS


def test_every_byte_may_come_alone():
    assert parse(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(cuts=st.lists(st.integers(0, len(STREAM))))
def test_events_do_not_depend_on_how_the_stream_is_cut(cuts):
    ends = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(ends)]
    assert parse(*chunks) == EVENTS


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_no_bytes_break_the_parser(chunks):
    assert parse(*chunks) == parse(b"".join(chunks))


@given(
    lines=st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_text_survives_whatever_ends_its_lines(lines, end):
    stream = "".join(f"data: {line}{end}" for line in lines) + end
    assert parse(stream.encode()) == [Event("message", "\n".join(lines))]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_given_as_soon_as_its_blank_line_ends(end):
    parser = EventParser()
    assert parser.feed(b"data: x" + end) == []
    assert parser.feed(end) == [Event("message", "x")]
