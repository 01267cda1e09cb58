"""The IEEE 754 arithmetic that every proof of this package stands on."""

import torch

# Variables, so that the machine adds them now and not the compiler when it read this file.
_ONE = 1.0
_UNIT_ROUNDOFF = 2.0**-53
_SMALLEST_NORMAL = 2.0**-1022

# More elements than torch computes in one thread (at::internal::GRAIN_SIZE is 32768).
_ELEMENTS_OF_ALL_THREADS = 1 << 20


class UnsoundArithmetic(RuntimeError):
    """The machine does not round to nearest, or takes subnormal numbers for zero."""


def require_ieee_arithmetic() -> None:
    """Returns if this thread rounds to nearest and keeps subnormal numbers; costs a microsecond.

    Both are state of a thread that other code may change: `torch.set_flush_denormal`, or any
    library that was linked with -ffast-math. Differences of floats would then vanish that are not
    zero, and `nextafter` would no longer reach beyond the exact result.

    Raises:
        UnsoundArithmetic: otherwise.
    """
    to_nearest = (
        _ONE + _UNIT_ROUNDOFF == _ONE
        and -_ONE - _UNIT_ROUNDOFF == -_ONE
        and _ONE + 1.5 * _UNIT_ROUNDOFF > _ONE
    )
    if not to_nearest:
        raise UnsoundArithmetic("floating point does not round to nearest in this thread")
    if (_SMALLEST_NORMAL * 0.5) * 2.0 != _SMALLEST_NORMAL:
        raise UnsoundArithmetic(
            "this thread takes subnormal numbers for zero: call torch.set_flush_denormal(False)"
        )


def require_ieee_threads() -> None:
    """As `require_ieee_arithmetic`, of the threads that torch computes in as well; milliseconds.

    To be called once before a run: a pool keeps the state its threads were started with.
    """
    require_ieee_arithmetic()
    smallest = torch.full((_ELEMENTS_OF_ALL_THREADS,), _SMALLEST_NORMAL, dtype=torch.float64)
    if not bool(((smallest * 0.5) * 2.0 == smallest).all()):
        raise UnsoundArithmetic("a thread of torch takes subnormal numbers for zero")
