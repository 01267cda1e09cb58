"""Large records in shared memory: removed by whoever should, swept when nobody is left."""

import os
import resource
import time
from pathlib import Path

import pytest

from certisolve_server.broker.redis.segments import SegmentLost, Segments

SHM = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not Segments("any").host, reason="no POSIX shared memory here")


@pytest.fixture
def segments(tmp_path):
    found = Segments(str(tmp_path))
    yield found
    for path in SHM.glob(f"{found._prefix}*"):
        path.unlink()


def names(segments) -> list[str]:
    return [path.name for path in SHM.glob(f"{segments._prefix}*")]


def age(segments, seconds: float) -> None:
    for name in names(segments):
        os.utime(SHM / name, times=(time.time() - seconds,) * 2)


def test_a_record_is_read_as_it_was_written(segments):
    reference = segments.write("job1", "in", [b"abc", memoryview(b"defgh")])
    assert bytes(segments.read(reference)) == b"abcdefgh"
    assert len(names(segments)) == 1


def test_what_was_read_outlives_the_name(segments):
    reference = segments.write("job1", "out", [b"x" * 100_000])
    record = segments.read(reference, remove=True)
    assert names(segments) == []
    assert bytes(record) == b"x" * 100_000


def test_a_record_that_came_whole_is_passed_on(segments):
    assert segments.read(b"\x10\0\0\0\0\0\0\0{}") == b"\x10\0\0\0\0\0\0\0{}"


def test_a_segment_that_is_gone_is_named(segments):
    reference = segments.write("job1", "in", [b"abc"])
    segments.remove(reference)
    segments.remove(reference)
    with pytest.raises(SegmentLost, match="gone"):
        segments.read(reference)


@pytest.mark.parametrize(
    "reference", [b"@shm:../etc/passwd", b"@shm:", b"@shm:certisolve-000000000000-j-in-0"]
)
def test_only_segments_of_the_queue_are_read(segments, reference):
    with pytest.raises(SegmentLost, match="no segment of this queue"):
        segments.read(reference)


def test_nobody_else_can_read_a_segment(segments):
    segments.write("job1", "in", [b"abc"])
    [name] = names(segments)
    assert (SHM / name).stat().st_mode & 0o777 == 0o600


def test_two_records_of_one_job_do_not_meet(segments):
    first, second = (segments.write("job1", "out", [text]) for text in (b"one", b"two"))
    assert bytes(segments.read(first)) == b"one"
    assert bytes(segments.read(second)) == b"two"


def test_only_old_segments_of_the_queue_are_swept(segments, tmp_path):
    reference = segments.write("job1", "in", [b"abc"])
    assert list(segments.old()) == []
    age(segments, 61)
    assert list(segments.old()) == [("job1", reference)]
    assert list(Segments(f"{tmp_path}/other").old()) == []


def test_a_record_too_large_for_the_memory_that_is_left_is_not_written(segments):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        assert segments.write("job1", "in", [b"head", bytes(1 << 20)]) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(segments) == []


def test_a_record_of_many_arrays_is_written_in_order(segments):
    chunks = [bytes([number % 251]) * (number % 7) for number in range(3000)]
    reference = segments.write("job1", "in", chunks)
    assert bytes(segments.read(reference)) == b"".join(chunks)
