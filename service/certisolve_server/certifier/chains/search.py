"""The search for multipliers: the whole chain at once where that is small, in windows where not.

The semidefinite program of a few layers, with the storage before them as it is and the map after
them as their output, gives multipliers of these layers that leave the map after them as little as
possible; for one layer that is ECLipsE (Xu and Sivaranjani, NeurIPS 2024). Windows that overlap are
better, and slower. Layers too wide even for that are left to `descent`.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers

from .descent import descend
from .eclipse import by_neuron, chosen, gain, gain_of, starting
from .interior import solve
from .program import program
from .recursion import passages
from .stages import Stage

# Sizes of the inequality of a window, from one pass over the chain to the next, and the gaps to
# which windows are solved; a whole chain is one as soon as it is small enough.
_PASSES = ((320, 0.1), (640, 1e-2), (1280, 1e-2))
_LARGEST_WHOLE = 1600

# After how many steps a whole chain tells of its weights, which takes as long to prove as a step;
# and how often a pass tells of what it has done, with the layers to come as in closed form.
_TOLD_EVERY = 4
_TOLD = 5

# Of the whole chain, relative.
_GAP = 1e-6

# A start has to be inside of what is feasible, and no weight there may be near 0.
_SLACK = 1.1
_ABOVE = 1.5
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True, eq=False)
class Found:
    """Multipliers, and what they give as far as floats can tell.

    Args:
        multipliers: lambda of each layer.
        gain: about the bound in l2, of inputs times `inputs` and outputs divided by `outputs`.
        inputs: by which to scale each, (inputs,), None for not at all.
        outputs: likewise.
        is_last: whether the search goes on to other ones from here.
    """

    multipliers: tuple[Numbers, ...]
    gain: float
    inputs: Numbers | None = None
    outputs: Numbers | None = None
    is_last: bool = False


def search(
    stages: Sequence[Stage], last: Numbers, free_inputs: bool = False, free_outputs: bool = False
) -> Iterator[Found | None]:
    """Ever better multipliers, None where there is nothing new yet.

    Args:
        stages: the layers of the chain.
        last: the map after them.
        free_inputs: whether inputs are scaled as is best for linf.
        free_outputs: whether outputs are scaled as is best for l1.
    """
    whole = _size(stages, last)
    for most, gap in _PASSES:
        if whole <= most:
            break
        if _smallest(stages, last) <= most:
            yield from _pass(stages, last, most, gap)
    if whole <= _LARGEST_WHOLE:
        yield from _whole(stages, last, free_inputs, free_outputs)
    elif _smallest(stages, last) > _PASSES[-1][0]:
        yield from _descent(stages, last)


def _whole(
    stages: Sequence[Stage],
    last: Numbers,
    free_inputs: bool,
    free_outputs: bool,
    gap: float = _GAP,
) -> Generator[Found | None, None, Found | None]:
    """All layers in one program; returns the last that was found."""
    posed = program(stages, last, free_inputs, free_outputs)
    start, storage = chosen(stages, by_neuron, _SLACK)
    reached = _ABOVE * gain(last, storage) ** 0.5
    if not 0 < reached < float("inf"):
        return None
    inputs, _, outputs = posed.parts(posed.cost)
    before = torch.full_like(inputs, reached * (outputs.numel() / inputs.numel()) ** 0.5)
    after = torch.full_like(outputs, reached * (inputs.numel() / outputs.numel()) ** 0.5)
    weights = torch.cat([before, *(before[0] * own for own in start), after])
    best, steps = None, 0
    for found in solve(posed, weights, gap):
        if found is None:
            yield None
            continue
        steps += 1
        before, layers, after = posed.parts(found)
        unit = before[:1] if not free_inputs else before.new_ones(1)
        best = Found(
            tuple(own / unit for own in layers),
            float(posed.cost @ found),
            _root(before).reciprocal() if free_inputs else None,
            _root(after) if free_outputs else None,
        )
        yield best if steps % _TOLD_EVERY == 0 else None
    if best is not None:
        yield replace(best, is_last=True)
    return best


def _pass(stages: Sequence[Stage], last: Numbers, most: int, gap: float) -> Iterator[Found | None]:
    """From the first layer to the last, in windows of at most this size."""
    storage: Numbers | None = None
    done: tuple[Numbers, ...] = ()
    told = 0
    while len(done) < len(stages):
        start = len(done)
        end = _end(stages, last, start, most)
        window = [_after(stages[start], storage), *stages[start + 1 : end]]
        following = last if end == len(stages) else _joined(stages[end])
        found = yield from _quiet(_whole(window, following, False, False, gap))
        kept = end - start if end == len(stages) else max(1, (end - start) // 2)
        own = chosen(window, by_neuron)[0] if found is None else found.multipliers
        passed = passages(stages[start : start + kept], [1.0 / each for each in own], storage)
        if passed is None:
            return
        storage, done = passed[-1].after, (*done, *own[:kept])
        yield None
        if len(done) - told >= len(stages) / _TOLD or len(done) == len(stages):
            told = len(done)
            rest, final = chosen(stages[told:], by_neuron, 1.0, storage)
            is_last = told == len(stages)
            yield Found((*done, *rest), gain(last, final) ** 0.5, is_last=is_last)


def _quiet(
    found: Generator[Found | None, None, Found | None],
) -> Generator[None, None, Found | None]:
    """Without telling what was found on the way."""
    while True:
        try:
            next(found)
        except StopIteration as done:
            result: Found | None = done.value
            return result
        yield None


def _descent(stages: Sequence[Stage], last: Numbers) -> Iterator[Found | None]:
    best = None
    start = yield from starting(stages, last)
    for found in descend(stages, last, start):
        if found is None:
            yield None
            continue
        best = Found(found, gain_of(stages, last, found) ** 0.5)
        yield best
    if best is not None:
        yield replace(best, is_last=True)


def _after(stage: Stage, storage: Numbers | None) -> Stage:
    """A layer of inputs x of size 1, h = storage^(1/2) x."""
    if storage is None:
        return stage
    values, vectors = torch.linalg.eigh(storage)
    root = vectors * values.clamp(min=0.0).sqrt().unsqueeze(-2)
    return replace(stage, reach=stage.reach @ root, carry=stage.carry @ root, ratio=None)


def _joined(stage: Stage) -> Numbers:
    """What a layer does to what is before it: where it has skips, both ways at once."""
    if stage.ratio is not None:
        return stage.reach
    return torch.cat([stage.reach, stage.carry], -2)


def _size(stages: Sequence[Stage], last: Numbers) -> int:
    """Of the largest block of the program, or of the system of weights, which costs an eighth.

    Each fold without a skip starts another block.
    """
    outputs = min(last.shape[-2:])
    sizes = [(stages[0].reach if stages else last).shape[-1]]
    for stage in stages:
        if bool(stage.carry.any()):
            sizes[-1] += stage.reach.shape[-2]
        else:
            sizes.append(stage.reach.shape[-2])
    bent = sum(stage.reach.shape[-2] for stage in stages)
    sizes[0] -= max(0, (stages[0].reach if stages else last).shape[-1] - bent - outputs)
    sizes[-1] += outputs
    return max(*sizes, sum(stage.multipliers for stage in stages) // 2)


def _end(stages: Sequence[Stage], last: Numbers, start: int, most: int) -> int:
    """Up to which layer a window from here reaches; at least one."""
    end = start + 1
    while end < len(stages):
        following = last if end + 1 == len(stages) else _joined(stages[end + 1])
        if _size(stages[start : end + 1], following) > most:
            break
        end += 1
    return end


def _smallest(stages: Sequence[Stage], last: Numbers) -> int:
    """The size of the largest window of one layer."""
    ends = [*(_joined(stage) for stage in stages[1:]), last]
    pairs = zip(stages, ends, strict=True)
    return max((_size([stage], end) for stage, end in pairs), default=0)


def _root(weights: Numbers) -> Numbers:
    return weights.clamp(min=float(weights.max()) * _LEAST_WEIGHT).sqrt()
