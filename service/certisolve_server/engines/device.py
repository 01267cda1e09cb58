"""Where programs run, behind one small interface: the CPU, or one GPU."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Waits for a batch to leave the device; the arrays are the caller's.
Fetch = Callable[[], list[NDArray[Any]]]
#: Waits for rows to leave the device: of each, one array per output, to be copied from at once.
FetchRows = Callable[[], list[list[NDArray[Any]]]]
#: Waits for the device: which rows are finite; None where all are.
FiniteRows = Callable[[], NDArray[np.bool_] | None]


class AbstractDevice(ABC):
    """Moves batches to a device and back. Used from one thread, except for `Fetch`.

    Attributes:
        name: `cpu` or `cuda:N`.
        pipeline_depth: batches that may be under way at once. More than one means that launches
            return before the work is done, and that `Fetch` may wait in another thread.
    """

    name: str
    pipeline_depth: int

    @property
    def torch_device(self) -> torch.device:
        """The same device, as torch names it."""
        return torch.device(self.name)

    @abstractmethod
    def adopt_thread(self, *, alone: bool) -> None:
        """Prepare the calling thread for launches.

        Args:
            alone: whether it computes by itself, without compute threads to help it. A program
                that is launched from two threads must be so from one of them, or each gets helpers
                of its own and they fight for the cores.
        """

    @abstractmethod
    def padded(self, batch_size: int) -> int:
        """The batch size that is run for `batch_size` requests."""

    @abstractmethod
    def stage(self, columns: Sequence[Sequence[NDArray[Any]]], batch_size: int) -> list[Tensor]:
        """Put requests side by side on the device.

        Args:
            columns: per program input, one array per request; shapes and dtypes agree.
            batch_size: rows of the result; rows without a request repeat the last one.

        Returns:
            Per program input a tensor of shape (batch_size, ...), the caller's to keep.
        """

    @abstractmethod
    def fetch(self, outputs: Sequence[Tensor]) -> Fetch:
        """Start bringing outputs to the host."""

    @abstractmethod
    def fetch_rows(self, outputs: Sequence[Tensor], rows: Sequence[int]) -> FetchRows:
        """Start bringing some rows of outputs to the host, in this order."""

    @abstractmethod
    def finite_rows(self, outputs: Sequence[Tensor]) -> FiniteRows:
        """Start looking which rows hold nothing but finite elements in every output."""

    @abstractmethod
    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Inside it, everything launched runs on this device, in order, without gradients."""


class CpuDevice(AbstractDevice):
    """The processor; a launch returns when the work is done.

    Arguments:
        num_threads: compute threads; 0 leaves it to torch.
    """

    def __init__(self, num_threads: int = 0) -> None:
        self.name = "cpu"
        self.pipeline_depth = 1
        self._num_threads = num_threads or torch.get_num_threads()

    def adopt_thread(self, *, alone: bool) -> None:
        # OpenMP counts per thread; torch hands the last number set on to threads it meets later.
        torch.set_num_threads(1 if alone else self._num_threads)

    def padded(self, batch_size: int) -> int:
        return batch_size

    def stage(self, columns: Sequence[Sequence[NDArray[Any]]], batch_size: int) -> list[Tensor]:
        del batch_size
        return [torch.from_numpy(_stacked(rows)) for rows in columns]

    def fetch(self, outputs: Sequence[Tensor]) -> Fetch:
        arrays = [output.numpy() for output in outputs]
        return lambda: arrays

    def fetch_rows(self, outputs: Sequence[Tensor], rows: Sequence[int]) -> FetchRows:
        arrays = [output.numpy() for output in outputs]
        return lambda: [[array[row] for array in arrays] for row in rows]

    def finite_rows(self, outputs: Sequence[Tensor]) -> FiniteRows:
        return partial(_finite_rows, [output.numpy() for output in outputs])

    def scope(self) -> contextlib.AbstractContextManager[None]:
        return torch.inference_mode()


class CudaDevice(AbstractDevice):
    """One GPU: pinned staging, copies that do not block, a stream of its own.

    Batch sizes are rounded up to powers of two, so that few kernels are planned per shape.
    Pinned blocks come from torch's caching host allocator, which hands a block out again only
    after the copies recorded on it are done.
    """

    def __init__(self, index: int) -> None:
        if index >= torch.cuda.device_count():
            raise ValueError(f"cuda:{index}: torch sees {torch.cuda.device_count()} CUDA devices")
        self.name = f"cuda:{index}"
        self.pipeline_depth = 2
        # Fields are float32; torch would cut operands of convolutions to 10 bits.
        torch.backends.cudnn.allow_tf32 = False
        self._stream = torch.cuda.Stream(self.torch_device)  # type: ignore[no-untyped-call]  # torch

    def adopt_thread(self, *, alone: bool) -> None:
        del alone

    def padded(self, batch_size: int) -> int:
        return 1 << (batch_size - 1).bit_length()

    def stage(self, columns: Sequence[Sequence[NDArray[Any]]], batch_size: int) -> list[Tensor]:
        return [self._stage_column(rows, batch_size) for rows in columns]

    def fetch(self, outputs: Sequence[Tensor]) -> Fetch:
        pinned = [torch.empty(o.shape, dtype=o.dtype, pin_memory=True) for o in outputs]
        for host, output in zip(pinned, outputs, strict=True):
            host.copy_(output, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch
        arrived.record(self._stream)

        def wait() -> list[NDArray[Any]]:
            arrived.synchronize()
            # A copy, so that pinned memory goes back at once and replies hold pageable memory.
            return [host.numpy().copy() for host in pinned]

        return wait

    def fetch_rows(self, outputs: Sequence[Tensor], rows: Sequence[int]) -> FetchRows:
        index = torch.tensor(rows, pin_memory=True).to(self.torch_device, non_blocking=True)
        fetch = self.fetch([output.index_select(0, index) for output in outputs])
        return lambda: [list(row) for row in zip(*fetch(), strict=True)]

    def finite_rows(self, outputs: Sequence[Tensor]) -> FiniteRows:
        flags = [torch.isfinite(output).reshape(len(output), -1).all(dim=1) for output in outputs]
        fetch = self.fetch([torch.stack(flags).all(dim=0)])

        def wait() -> NDArray[np.bool_] | None:
            [finite] = fetch()
            return None if finite.all() else finite

        return wait

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            yield

    def _stage_column(self, rows: Sequence[NDArray[Any]], batch_size: int) -> Tensor:
        shape = (batch_size, *rows[0].shape)
        dtype = torch.from_numpy(np.empty(0, rows[0].dtype)).dtype
        pinned = torch.empty(shape, dtype=dtype, pin_memory=True)
        buffer = pinned.numpy()
        _stack_into(buffer, rows)
        buffer[len(rows) :] = rows[-1]
        return pinned.to(self.torch_device, non_blocking=True)


def _finite_rows(arrays: Sequence[NDArray[Any]]) -> NDArray[np.bool_] | None:
    if all(np.isfinite(array).all() for array in arrays):
        return None
    rows = [np.isfinite(array).all(axis=tuple(range(1, array.ndim))) for array in arrays]
    finite: NDArray[np.bool_] = np.logical_and.reduce(rows)
    return finite


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    buffer = np.empty((len(rows), *rows[0].shape), rows[0].dtype)
    _stack_into(buffer, rows)
    return buffer


def _stack_into(buffer: NDArray[Any], rows: Sequence[NDArray[Any]]) -> None:
    # np.stack spends more on checking small rows than this on copying them.
    for index, row in enumerate(rows):
        buffer[index] = row


def open_device(name: str, *, num_threads: int = 0) -> AbstractDevice:
    """The device called `auto`, `cpu` or `cuda:N`; `auto` is the first GPU, else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return CpuDevice(num_threads)
    return CudaDevice(int(name.removeprefix("cuda:")))
