"""What torch.export says about sizes, as the dimension, the condition and the line at fault."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram

from .errors import SpecialisedBatch, SpecialisedDimension, SpecialisedGrid

_SOURCE = re.compile(r"L\['(\w+)'\](\[\d+\])?\.size\(\)\[(\d+)\]")
_EQUAL = re.compile(r"^ +- The values of (.+) and (.+) must always be equal")
_COMPLAINT = re.compile(
    r"^ +- (?:You marked|Not all values of) (.+?) (?:as dynamic|in the spec)", re.M
)
_CONSTANT = re.compile(r"specialized it to be a constant \((\d+)\)")
_GUARD = re.compile(r"satisfy the generated guard (.+?)\.?$")
BATCH = "batch"
#: A size that may vary: `Dim("x", min=8)` or `Dim.DYNAMIC(min=8)`, which share no public type.
Size = Any


class Guard(NamedTuple):
    """A condition that tracing put on sizes.

    Attributes:
        condition: in torch's words, `Eq(L['x'].size()[0], 3)`.
        where: the line that asked for it, ready to be appended; empty when it is not known.
    """

    condition: str
    where: str


def as_size_error(
    message: str, guards: Sequence[Guard], axes: Mapping[str, Sequence[str]]
) -> SpecialisedDimension | None:
    """The complaint of torch.export as an error of ours; None if it is about something else.

    Args:
        message: of torch.export.
        guards: in the order in which they were added.
        axes: of the inputs, by the names that torch gives them.
    """
    names: dict[str, str] = {}
    for line in message.splitlines():
        equal = _EQUAL.match(line)
        if equal:
            one, other = _axis(equal[1], axes), _axis(equal[2], axes)
            where = _first_place(one, guards, axes)
            names.setdefault(one, f"the graph takes {one} only if it is {other}{where}")
        complaint = _COMPLAINT.match(line)
        if complaint:
            name = _axis(complaint[1], axes)
            names.setdefault(name, _complaint(name, complaint[1], line, guards, axes))
    return _size_error(names) if names else None


def _size_error(names: Mapping[str, str]) -> SpecialisedDimension:
    if BATCH in names:
        return SpecialisedBatch(
            names[BATCH],
            "take the batch size from x.shape[0] wherever it is needed, never from len(x) or a "
            "number, and loop over operations, not over samples",
        )
    return SpecialisedGrid(
        "; ".join(names.values()),
        "take sizes from x.shape and compute coordinates from them; or validate one size only, "
        "which may then be fixed",
    )


def narrowed(
    program: ExportedProgram, axes: Sequence[Sequence[str]], sizes: Mapping[str, Size]
) -> dict[str, int]:
    """Largest sizes that the graph takes, of the axes that must take larger ones.

    torch.export narrows the range of a `Dim.DYNAMIC` without a word.
    """
    largest: dict[str, int] = {}
    for name, symbol in _symbols(program, axes):
        taken, wanted = program.range_constraints.get(symbol), getattr(sizes[name], "max", None)
        if taken is not None and wanted is not None and taken.upper < wanted:
            largest[name] = int(taken.upper)
    return largest


def check_ranges(
    program: ExportedProgram,
    axes: Sequence[Sequence[str]],
    sizes: Mapping[str, Size],
    guards: Sequence[Guard],
    named_axes: Mapping[str, Sequence[str]],
) -> None:
    """Refuse a graph whose sizes are narrower than asked for.

    Raises:
        SpecialisedDimension: with the line that narrows it.
    """
    for name, largest in narrowed(program, axes, sizes).items():
        where = _first_place(name, guards, named_axes)
        problem = f"the graph takes {name} up to {largest} only, not to {sizes[name].max}{where}"
        raise _size_error({name: problem})


def readable(condition: str, axes: Mapping[str, Sequence[str]]) -> str:
    """The condition with names of axes in the place of sources."""
    return _SOURCE.sub(lambda match: _axis(match[0], axes), condition)


def _complaint(
    name: str, source: str, line: str, guards: Sequence[Guard], axes: Mapping[str, Sequence[str]]
) -> str:
    constant, range_ = _CONSTANT.search(line), _GUARD.search(line)
    where = _first_place(name, guards, axes)
    if constant:
        return f"the graph fixes {name} to {constant[1]}{where}"
    condition = readable(range_[1], axes) if range_ else readable(source, axes)
    return f"the graph takes {name} only if {condition}{where}"


def _first_place(name: str, guards: Sequence[Guard], axes: Mapping[str, Sequence[str]]) -> str:
    conditions = [(readable(guard.condition, axes), guard.where) for guard in guards]
    mentions = [each for each in conditions if re.search(rf"\b{name}\b", each[0])]
    equalities = [each for each in mentions if each[0].startswith("Eq(")]
    return next((where for _, where in (*equalities, *mentions) if where), "")


def _axis(source: str, axes: Mapping[str, Sequence[str]]) -> str:
    """`batch` or the name of the axis; a named dimension has it already."""
    found = _SOURCE.search(source)
    if not found:
        return source.partition(" ")[0]
    names = axes.get(found[1] + (found[2] or ""))
    return names[int(found[3])] if names else found[0]


def _symbols(program: ExportedProgram, axes: Sequence[Sequence[str]]) -> Iterator[tuple[str, Any]]:
    """Every size of the inputs that is a symbol, with the name of its axis."""
    inputs = set(program.graph_signature.user_inputs)
    taken = [node for node in program.graph.nodes if node.name in inputs]
    for node, names in zip(taken, axes, strict=True):
        for name, size in zip(names, node.meta["val"].shape, strict=True):
            if isinstance(size, torch.SymInt):
                yield name, size.node.expr
