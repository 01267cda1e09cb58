"""Enclosed roots of unity, and complex matrices as real ones."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, concatenate, stack
from certisolve_server.certifier.functions.registry import find


def roots_of_unity(order: int) -> tuple[Interval, Interval]:
    """Cos and sin of 2 pi j / n for j = 0 to n - 1, (n,) each."""
    turns = [Interval.of_fraction(Fraction(2 * j, order)) for j in range(order)]
    angles = stack(turns, 0) * Interval.near(math.pi)
    return find("cos").value(angles), find("sin").value(angles)


def phases(taps: Tensor, frequencies: Tensor, sizes: tuple[int, ...]) -> tuple[Interval, Interval]:
    """Cos and sin of 2 pi sum_a q_a k_a / n_a, (taps, frequencies) each.

    Args:
        taps: q, whole numbers, (taps, axes).
        frequencies: k, whole numbers, (frequencies, axes).
        sizes: n_a.
    """
    order = math.lcm(*sizes)
    steps = torch.tensor([order // size for size in sizes])
    places = ((taps * steps) @ frequencies.mT) % order
    cos, sin = roots_of_unity(order)
    return cos.rearranged(lambda ends: ends[places]), sin.rearranged(lambda ends: ends[places])


def as_real(real: Interval, imaginary: Interval) -> Interval:
    """[[R, -I], [I, R]] for R + i I, (..., rows, columns) to twice as many of both.

    It acts on real parts and then imaginary ones, so it has the same spectral norm, each singular
    value twice, and products and adjoints go along.
    """
    above = concatenate((real, -imaginary), -1)
    below = concatenate((imaginary, real), -1)
    return concatenate((above, below), -2)
