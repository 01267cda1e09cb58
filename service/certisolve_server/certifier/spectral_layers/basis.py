"""Constant matrices read as transforms: which waves their rows, or columns, are made of.

Nothing is believed of a matrix but its elements. The waves are guessed in plain floats; then the
difference of the matrix and what the guess stands for is enclosed, and its norm carried on.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from certisolve_server.certifier.arithmetic import Interval, total
from certisolve_server.certifier.arithmetic.rounding import product_up, sqrt_up
from certisolve_server.certifier.arithmetic.sums import sum_of_sizes
from certisolve_server.certifier.operators.fourier import roots_of_unity

#: Waves that a row may have, on average.
_MOST_WAVES = 4

# Of the largest share of a row: what is below is left to the deviation.
_NOTHING = 2.0**-20

# Shares that are this close to a short number are that number, on every grid alike.
_SHORT, _CLOSE = 2.0**-28, 2.0**-36
_LARGEST_DENOMINATOR = 1 << 16

# A row is made of waves of a period if so little of it is left.
_LEFT = 2.0**-18


@dataclass(frozen=True, eq=False)
class Waves:
    """M[r, x] = window[x] sum_k unit share_{r,k} e^{-2 pi i k x / period} / period + deviation.

    So of a windowed e^{2 pi i k x / period} on the whole period row r gives unit share_{r,k}.

    Args:
        rows: r of each share, (shares,).
        frequencies: k of each share, (shares,), above - period / 2 and at most period / 2.
        shares: complex, (shares,), those of k and -k conjugate.
        unit: of all shares, exactly.
        period: of the waves, in points.
        window: of the points, (points,).
        deviation: at least the Frobenius norm of what else is in M.
    """

    rows: Tensor
    frequencies: Tensor
    shares: Tensor
    unit: Fraction
    period: int
    window: Tensor
    deviation: float

    @property
    def norm(self) -> float:
        """At least the Frobenius norm of units times shares."""
        size = frobenius(Interval.exact(torch.view_as_real(self.shares)))
        return size * abs(float(self.unit)) * (1.0 + 2.0**-50)


def waves_of(matrix: Interval, periods: tuple[int, ...], may_have_window: bool) -> Waves | None:
    """The waves of the rows, (rows, points); None where there is no such structure.

    Args:
        matrix: exact or enclosed.
        periods: that are tried; none of them for all from the number of points to twice as many.
        may_have_window: whether all rows may have one factor at each point.
    """
    center = matrix.midpoint_radius()[0]
    points = center.shape[1]
    whole = torch.ones(points, dtype=torch.float64)
    if points in periods or not periods:
        found = _on_whole_period(center)
        if found is not None:
            return _with_deviation(matrix, *found, points, whole)
    for window in [whole, *([_window(center)] if may_have_window else [])]:
        if bool((window > 0).all()):
            for period in periods or _periods(center / window):
                found = _on_part_of_period(center / window, period)
                if found is not None:
                    return _with_deviation(matrix, *found, period, window)
    return None


def signed(frequencies: Tensor, period: int) -> Tensor:
    """Modulo the period, above - period / 2 and at most period / 2."""
    reduced = frequencies % period
    return torch.where(2 * reduced > period, reduced - period, reduced)


def _on_whole_period(center: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    spectrum = torch.fft.ifft(center, dim=1, norm="forward")
    # Conjugate to the last bit, as the waves of real rows are.
    spectrum = 0.5 * (spectrum + spectrum[:, -torch.arange(center.shape[1])].conj())
    sizes = spectrum.abs()
    keep = sizes > _NOTHING * sizes.max()
    if int(keep.sum()) > _MOST_WAVES * center.shape[0]:
        return None
    rows, places = keep.nonzero(as_tuple=True)
    return rows, signed(places, center.shape[1]), spectrum[rows, places]


def _window(center: Tensor) -> Tensor:
    """The row that stays furthest above 0, as does that of the constant wave, largest value 1."""
    row = center[center.amin(1).argmax()]
    return row / row.max()


def _periods(center: Tensor) -> tuple[int, ...]:
    """Of the longest wave, which has wave(x + 1) + wave(x - 1) = 2 cos(2 pi / period) wave(x)."""
    middle = center[:, 1:-1]
    squares = middle.square().sum(1)
    sums = ((center[:, 2:] + center[:, :-2]) * middle).sum(1)
    kept = squares > _NOTHING * squares.max()
    angles = (sums[kept] / (2 * squares[kept])).clamp(-1.0, 1.0).arccos()
    angles = angles[angles > 2.0**-12]
    if not angles.numel():
        return ()
    period = round(2 * math.pi / float(angles.min()))
    return (period,) if period >= center.shape[1] else ()


def _on_part_of_period(center: Tensor, period: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """One pair of waves for each row, by least squares."""
    size = center.square().sum(1)
    angle = 2 * math.pi / period * torch.arange(center.shape[1], dtype=torch.float64)
    turns = torch.arange(period // 2 + 1)[:, None] * angle
    basis = torch.stack([turns.cos(), turns.sin()], 2)
    inside = torch.einsum("kxb,rx->rkb", torch.linalg.qr(basis)[0], center).square().sum(2)
    best = inside.argmax(1)
    if not bool((size - inside.amax(1) <= _LEFT * size.max()).all()):
        return None
    factors = torch.linalg.lstsq(basis[best], center[:, :, None], driver="gelsd").solution[:, :, 0]
    rows_ = torch.arange(center.shape[0])
    own = (best == 0) | (2 * best == period)
    # a cos + b sin is half of a + i b times e^{-i k x}, and the conjugate for -k.
    shares = torch.complex(factors[:, 0], factors[:, 1]) * (period / 2)
    shares = torch.where(own, torch.complex(2 * shares.real, torch.zeros_like(size)), shares)
    pairs = ~own & (shares.abs() > 0)
    single = own & (shares.abs() > 0)
    return (
        torch.cat([rows_[single], rows_[pairs], rows_[pairs]]),
        torch.cat([best[single], best[pairs], -best[pairs]]),
        torch.cat([shares[single], shares[pairs], shares[pairs].conj()]),
    )


def _with_deviation(
    matrix: Interval,
    rows: Tensor,
    frequencies: Tensor,
    shares: Tensor,
    period: int,
    window: Tensor,
) -> Waves | None:
    unit = _unit(shares)
    short = _shortened(shares / float(unit))
    structure = _matrix(rows, frequencies, short, matrix.shape, period) * window
    deviation = frobenius(matrix - structure * Interval.of_fraction(unit / period))
    if not deviation <= _LEFT * frobenius(matrix):
        return None
    return Waves(rows, frequencies, short, unit, period, window, deviation)


def _unit(shares: Tensor) -> Fraction:
    """The largest part of a share if it is near a simple fraction, as numbers of points are."""
    if not shares.numel():
        return Fraction(1)
    largest = float(torch.view_as_real(shares).abs().max())
    near = Fraction(largest).limit_denominator(_LARGEST_DENOMINATOR)
    is_near = near > 0 and abs(near - Fraction(largest)) <= Fraction(_CLOSE) * Fraction(largest)
    return near if is_near else Fraction(1)


def _shortened(shares: Tensor) -> Tensor:
    """Numbers of few digits where they are near, so that they do not depend on the grid."""
    if not shares.numel():
        return shares
    unit = 2.0 ** math.floor(math.log2(float(shares.abs().max())))
    parts = torch.view_as_real(shares)
    near = (parts / (_SHORT * unit)).round() * (_SHORT * unit)
    return torch.view_as_complex(torch.where((near - parts).abs() <= _CLOSE * unit, near, parts))


def _matrix(
    rows: Tensor, frequencies: Tensor, shares: Tensor, shape: torch.Size, period: int
) -> Interval:
    """The real part of sum_k share e^{-2 pi i k x / period}, enclosed, (rows, points)."""
    count, points = shape
    cos, sin = roots_of_unity(period)
    places = (frequencies[:, None] * torch.arange(points)) % period
    waves = (
        cos.rearranged(lambda ends: ends[places]) * shares.real[:, None]
        + sin.rearranged(lambda ends: ends[places]) * shares.imag[:, None].contiguous()
    )
    # Shares of one row side by side.
    order = torch.argsort(rows, stable=True)
    ranks = torch.empty_like(rows)
    starts = torch.searchsorted(rows[order], rows[order])
    ranks[order] = torch.arange(rows.shape[0]) - starts
    most = int(ranks.max()) + 1 if rows.numel() else 1

    def laid_out(ends: Tensor) -> Tensor:
        table = torch.zeros(count, most, points, dtype=torch.float64)
        table[rows, ranks] = ends
        return table

    return total(waves.rearranged(laid_out), 1)


def frobenius(matrix: Interval) -> float:
    """At least the Frobenius norm of each member, and of each of several matrices."""
    if not matrix.lower.numel():
        return 0.0
    sizes = matrix.magnitude
    return float(sqrt_up(sum_of_sizes(product_up(sizes, sizes), (-2, -1))).max())
