"""Powers of numbers, rounded in one direction."""

from collections.abc import Callable

import torch

from .rounding import Numbers, product_down, product_up


def power_up(x: Numbers, exponent: int) -> Numbers:
    """At least x^n for x >= 0 and an integer n >= 0."""
    return _by_squaring(product_up, x, exponent)


def power_down(x: Numbers, exponent: int) -> Numbers:
    """At most x^n, and at least 0, for x >= 0 and an integer n >= 0."""
    return _by_squaring(product_down, x, exponent)


def odd_power_down(x: Numbers, exponent: int) -> Numbers:
    """At most x^n for an odd n."""
    size = x.abs()
    return torch.where(x < 0, -power_up(size, exponent), power_down(size, exponent))


def _by_squaring(
    product: Callable[[Numbers, Numbers], Numbers], x: Numbers, exponent: int
) -> Numbers:
    """x^n from products of factors that are not negative: rounded one way, all of it is."""
    if exponent == 0:
        return torch.ones_like(x)
    if exponent == 1:
        return x
    half = _by_squaring(product, x, exponent // 2)
    square = product(half, half)
    return product(square, x) if exponent % 2 else square
