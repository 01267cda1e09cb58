"""Documents behind their lengths survive being cut anywhere."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certisolve.sequence import SILENCE, SequenceError, Unpacker, pack

documents = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


@given(documents, st.lists(st.integers(0, 400), max_size=12), st.integers(0, 8))
def test_documents_survive_however_they_are_cut(sent, cuts, silent_at):
    packed = [pack(document) for document in sent]
    packed.insert(silent_at, SILENCE)
    body = b"".join(packed)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    unpacker, received = Unpacker(), []
    for begin, end in itertools.pairwise(edges):
        received += unpacker.feed(body[begin:end])
    assert received == sent


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_document_is_there_with_its_last_byte(document, data):
    body = pack(document)
    end = data.draw(st.integers(1, len(body) - 1))
    unpacker = Unpacker()
    assert unpacker.feed(body[:end]) == []
    assert unpacker.feed(body[end:]) == [document]


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>", b"\xff" * 8])
def test_what_is_no_sequence_is_noticed_at_once(body):
    with pytest.raises(SequenceError):
        Unpacker().feed(body)
