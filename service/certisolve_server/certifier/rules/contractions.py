"""Einstein's sums over two tensors, of which both may vary."""

import string
from collections.abc import Sequence
from types import MappingProxyType

from certisolve_server.certifier.arithmetic import Interval, einsum

from .abstraction import Abstraction, Jacobian, total
from .rule import Declined, Rules


def contract(equation: str, tensors: Sequence[Abstraction], path: object) -> Abstraction:
    """Bilinear in its operands: differences are x(p) (y(p) - y(q)) + (x(p) - x(q)) y(q)."""
    del path
    if len(tensors) != 2:
        raise Declined(f"contracts {len(tensors)} tensors, not two")
    x, y = tensors
    left, right, result = subscripts(equation, [len(x.shape), len(y.shape)])
    sizes = [*zip(left, x.shape, strict=True), *zip(right, y.shape, strict=True)]
    if len(set(sizes)) != len({letter for letter, _ in sizes}):
        raise Declined("contracts axes of different sizes")
    boxes, entries = list(_unused(left + right + result))
    value = _einsum((boxes + left, boxes + right, boxes + result), x.value, y.value)
    along = boxes + entries
    by_left: Jacobian = MappingProxyType(
        {
            name: _einsum((along + left, boxes + right, along + result), block, y.value)
            for name, block in x.jacobian.items()
        }
    )
    by_right: Jacobian = MappingProxyType(
        {
            name: _einsum((boxes + left, along + right, along + result), x.value, block)
            for name, block in y.jacobian.items()
        }
    )
    return Abstraction(value, total((by_left, by_right)))


#: By overload.
RULES: Rules = {"aten.einsum.default": contract}


def subscripts(equation: str, ranks: Sequence[int]) -> tuple[str, str, str]:
    """Of both operands and the result, each axis by a letter of its own, without an ellipsis."""
    operands, arrow, result = equation.replace(" ", "").partition("->")
    names = operands.split(",")
    if not arrow:
        letters = sorted(set(operands) - set(",."))
        once = "".join(letter for letter in letters if operands.count(letter) == 1)
        result = ("..." if "..." in operands else "") + once
    fresh = _unused(operands + result, 16)
    # Axes under an ellipsis broadcast from the last one.
    hidden = [fresh[: rank - len(name) + 3][::-1] for name, rank in zip(names, ranks, strict=True)]
    most = max(
        (h for h, name in zip(hidden, names, strict=True) if "..." in name), key=len, default=""
    )
    left, right = (
        name.replace("...", h if "..." in name else "")
        for name, h in zip(names, hidden, strict=True)
    )
    repeats = any(len(set(name)) != len(name) for name in (left, right))
    if repeats or [len(left), len(right)] != list(ranks):
        raise Declined(f"contracts by {equation!r}")
    return left, right, result.replace("...", most)


def _einsum(names: tuple[str, str, str], x: Interval, y: Interval) -> Interval:
    left, right, result = names
    return einsum(f"{left},{right}->{result}", x, y)


def _unused(used: str, count: int = 2) -> str:
    return "".join([each for each in string.ascii_letters if each not in used][:count])
