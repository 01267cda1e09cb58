"""What the arguments of a transform say: along which axes, and what it is divided by."""

from collections.abc import Mapping
from dataclasses import dataclass

from certisolve_server.certifier.graph.node import Argument, Node

from .writer import axis_of


@dataclass(frozen=True)
class Plan:
    """A transform along some axes, one after the other.

    Args:
        axes: the last of them is that of half a spectrum, if there is one.
        norm: what it is divided by along each: "1", "root" of the number of points, or "n".
    """

    axes: tuple[int, ...]
    norm: str


def from_real(node: Node, shape: tuple[int, ...]) -> Plan | None:
    """Of `fft_rfft`, `fft_rfft2`, `fft_rfftn` and `_fft_r2c`; None if it resizes or is two-sided.

    Args:
        node: one of these.
        shape: of its operand.
    """
    if node.operator == "aten._fft_r2c.default":
        return _by_number(node, len(shape)) if node.arguments["onesided"] else None
    plan = _by_name(node, len(shape), 1)
    if plan is None:
        return None
    sizes = tuple(shape[axis] for axis in plan.axes)
    return plan if _given_sizes(node) in (None, sizes[-1], sizes) else None


def to_real(node: Node, shape: tuple[int, ...]) -> Plan | None:
    """Of `fft_irfft`, `fft_irfft2`, `fft_irfftn` and `_fft_c2r`; None if it resizes another axis.

    Along the last axis there are as many points as in the shape of the node.
    """
    rank = len(shape)
    by_number = node.operator == "aten._fft_c2r.default"
    plan = _by_number(node, rank) if by_number else _by_name(node, rank, -1)
    if plan is None or any(node.shape[axis] != shape[axis] for axis in plan.axes[:-1]):
        return None
    return plan


def among_complex(node: Node, shape: tuple[int, ...]) -> tuple[Plan, int] | None:
    """Of `fft_fft`, `fft_ifft`, their kin and `_fft_c2c`, and 1 or, of an inverse, -1."""
    plan: Plan | None
    if node.operator == "aten._fft_c2c.default":
        plan, sign = _by_number(node, len(shape)), 1 if node.arguments["forward"] else -1
    else:
        sign = -1 if "_ifft" in node.operator else 1
        plan = _by_name(node, len(shape), sign)
    if plan is None or not plan.axes or _given_sizes(node) is not None:
        return None
    return plan, sign


def _by_name(node: Node, rank: int, sign: int) -> Plan | None:
    names: Mapping[Argument, tuple[str, str]] = {
        None: ("1", "n"),
        "backward": ("1", "n"),
        "ortho": ("root", "root"),
        "forward": ("n", "1"),
    }
    norm = node.arguments.get("norm")
    if norm not in names:
        return None
    return Plan(_axes(node, rank), names[norm][0 if sign > 0 else 1])


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    """Those named; else the last ones, as many as sizes are given, or all."""
    dims = node.arguments.get("dim", -1)
    if dims is None:
        sizes = _given_sizes(node)
        count = len(sizes) if isinstance(sizes, tuple) else rank
        return tuple(range(rank - count, rank))
    return tuple(axis_of(dim, rank) for dim in (dims if isinstance(dims, tuple) else (dims,)))


def _given_sizes(node: Node) -> Argument:
    return node.arguments.get("n", node.arguments.get("s"))


def _by_number(node: Node, rank: int) -> Plan:
    dims, norm = node.arguments["dim"], node.arguments["normalization"]
    assert isinstance(dims, tuple)
    assert isinstance(norm, int)
    return Plan(tuple(axis_of(dim, rank) for dim in dims), ("1", "root", "n")[norm])
