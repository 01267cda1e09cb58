"""Solutions that arrive frame by frame."""

import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Self

from ._calls import Call, Reply
from ._clock import Clock
from ._errors import CertisolveError
from ._results import Frame, Solution
from ._retry import RetryPolicy
from ._stream_reader import StreamReader, join


class Stream(Iterator[Frame]):
    """The frames of one solution as they are computed; obtained from `Client.stream`.

    The computation begins with the first frame that is asked for, and ends when the stream is
    closed: at the end of its `with` block, by `close`, or with the last frame. A connection that
    breaks is opened again, as the client's RetryPolicy says, and goes on after the last frame; the
    server computes the way there once more. Belongs to one thread.

    Example:
        >>> with client.stream("ns2d-fno", {"w": w0}, steps=50) as frames:
        ...     for frame in frames:
        ...         print(frame.t, frame.fields["w"].max())
        ... print(frames.summary.status)
    """

    def __init__(
        self,
        call: Call,
        *,
        stream: Callable[[Call], Generator[Reply, None, None]],
        clock: Clock,
        retry: RetryPolicy,
    ) -> None:
        self._reader = StreamReader(call, retry)
        self._frames = _read(self._reader, stream, clock)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        """The next frame, as soon as it is there.

        Raises:
            StopIteration: that was the last one.
            CertisolveError: as `Client.solve`.
            ConnectionFailed: the connection broke, and so did each of the policy's attempts.
            RequestTimeout: nothing came for as long as the caller's timeout.
        """
        return next(self._frames)

    @property
    def summary(self) -> Solution:
        """What is known at the end: status, diagnostics, timings; a solution without fields.

        Raises:
            RuntimeError: the stream has not ended, or not with its last frame.
        """
        return self._reader.end()

    def solution(self, frames: Sequence[Frame]) -> Solution:
        """The solution that all frames of this stream add up to, as `Client.solve` returns it.

        Args:
            frames: every one of them, in order.

        Raises:
            RuntimeError: the stream has not ended, or not with its last frame.
            ValueError: frames are missing.
        """
        return join(frames, self.summary)

    def close(self) -> None:
        """End the stream, and the computation unless it has ended; does nothing the second time."""
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncStream(AsyncIterator[Frame]):
    """As `Stream`, for `AsyncClient`: `async for`, `async with`, `aclose`.

    After an early end of the loop the event loop closes the stream when it next comes round;
    `async with` closes it there and then.
    """

    def __init__(
        self,
        call: Call,
        *,
        stream: Callable[[Call], AsyncGenerator[Reply, None]],
        clock: Clock,
        retry: RetryPolicy,
    ) -> None:
        self._reader = StreamReader(call, retry)
        self._frames = _aread(self._reader, stream, clock)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        """As `Stream.__next__`."""
        return await anext(self._frames)

    @property
    def summary(self) -> Solution:
        """As `Stream.summary`."""
        return self._reader.end()

    def solution(self, frames: Sequence[Frame]) -> Solution:
        """As `Stream.solution`."""
        return join(frames, self.summary)

    async def aclose(self) -> None:
        """As `Stream.close`."""
        await self._frames.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


# Functions, not methods: a generator that knew its stream would keep it from being closed when the
# last reference to it goes.


def _read(
    reader: StreamReader, stream: Callable[[Call], Generator[Reply, None, None]], clock: Clock
) -> Generator[Frame, None, None]:
    while True:
        try:
            with contextlib.closing(stream(reader.next_call())) as replies:
                for reply in replies:
                    if (frame := reader.frame(reply)) is not None:
                        yield frame
                    if reader.ended:
                        return
            raise reader.cut_short()
        except CertisolveError as error:
            delay_s = reader.delay_after(error, random.random())
            if delay_s is None:
                raise
        clock.sleep(delay_s)


async def _aread(
    reader: StreamReader, stream: Callable[[Call], AsyncGenerator[Reply, None]], clock: Clock
) -> AsyncGenerator[Frame, None]:
    while True:
        try:
            async with contextlib.aclosing(stream(reader.next_call())) as replies:
                async for reply in replies:
                    if (frame := reader.frame(reply)) is not None:
                        yield frame
                    if reader.ended:
                        return
            raise reader.cut_short()
        except CertisolveError as error:
            delay_s = reader.delay_after(error, random.random())
            if delay_s is None:
                raise
        await clock.asleep(delay_s)
