"""Several safetensors bodies in one: each behind its length, as they come.

A body of the type `SAFETENSORS_SEQ` is a sequence of documents, each of which is 8 bytes, the
length in little-endian order, and so many bytes of safetensors. A length of 0 is no document: it
says that the sender is still there.
"""

#: Media type of such a body.
SAFETENSORS_SEQ = "application/x-safetensors-seq"
#: What is sent when there is nothing to say.
SILENCE = bytes(8)

_LENGTH_BYTES = 8
#: Of one document; more than any server sends, and a sign that the bytes are no sequence.
_MAX_BYTES = 1 << 40


class SequenceError(ValueError):
    """Bytes that are no sequence of documents."""


def pack(document: bytes) -> bytes:
    """A document behind its length."""
    return len(document).to_bytes(_LENGTH_BYTES, "little") + document


class Unpacker:
    """Takes a sequence apart that arrives in pieces of any length; no I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The documents that `chunk` completes, without silences.

        Raises:
            SequenceError: a length is beyond all measure.
        """
        self._buffer += chunk
        documents: list[bytes] = []
        begin = 0
        while (end := self._end(begin)) is not None:
            if end - begin > _LENGTH_BYTES:
                documents.append(bytes(self._buffer[begin + _LENGTH_BYTES : end]))
            begin = end
        del self._buffer[:begin]
        return documents

    def _end(self, begin: int) -> int | None:
        """Where the document behind the length at `begin` ends; None before it is there."""
        start = begin + _LENGTH_BYTES
        if len(self._buffer) < start:
            return None
        size = int.from_bytes(self._buffer[begin:start], "little")
        if size > _MAX_BYTES:
            raise SequenceError(f"a document of {size} bytes")
        return start + size if len(self._buffer) >= start + size else None
