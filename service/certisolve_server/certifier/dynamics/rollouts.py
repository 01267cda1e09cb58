"""A step done n times, as one graph: rollouts, with or without a memory of past frames."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.graph.node import Argument, Graph, Input, Ref

from .assembly import Assembly


@dataclass(frozen=True, eq=False)
class Step:
    """A map that is done again on its own results.

    Args:
        result: the output that is asked for, of the inputs before the step.
        carried: of inputs that a step replaces, their next values; all graphs are of the same
            inputs. Inputs that are not carried stay as they are.
        states: of carried inputs, those that nobody varies; they are zero at first.
        literal: as of `Assembly`.
    """

    result: Graph
    carried: Mapping[str, Graph]
    states: frozenset[str] = frozenset()
    literal: bool = False


def rollout(step: Step, steps: int) -> Graph:
    """The result of the last of n steps.

    Args:
        step: one of them.
        steps: n, at least 1.

    Raises:
        InvalidRequest: n is less, or a step returns another shape than it takes.
    """
    _require_steps(steps)
    given = tuple(each for each in step.result.inputs if each.name not in step.states)
    assembly = Assembly(*given, literal=step.literal)
    values = {each.name: each.name for each in given} | _no_states(assembly, step)
    for _ in range(steps - 1):
        values = _advanced(assembly, step, values)
    return assembly.graph(assembly.insert(step.result, values))


def memory_rollout(step: Step, steps: int, history: str, frames: int) -> Graph:
    """The result of the last of n steps that follow a history of frames.

    Each frame goes through the step, oldest first, which fills the states; the last one is the
    present, from which the n steps are counted.

    Args:
        step: takes one frame, of shape (1, *shape), as the input `history`.
        steps: n, at least 1.
        history: name of the input, of shape (1, frames, *shape) in the graph that is returned.
        frames: of the history.

    Raises:
        InvalidRequest: n is less, there is no frame, or a step returns another shape than it takes.
    """
    _require_steps(steps)
    if frames < 1:
        raise InvalidRequest("a history has at least one frame")
    frame = step.result.input(history)
    shape = (1, frames, *frame.shape[1:])
    rest = [
        each for each in step.result.inputs if each.name != history and each.name not in step.states
    ]
    assembly = Assembly(Input(history, shape), *rest, literal=step.literal)
    values = {each.name: each.name for each in rest} | _no_states(assembly, step)
    for index in range(frames):
        values[history] = selected(assembly, history, 1, index)
        if index < frames - 1:
            values = _advanced(assembly, step, values)
    for _ in range(steps - 1):
        values = _advanced(assembly, step, values)
    return assembly.graph(assembly.insert(step.result, values))


def selected(assembly: Assembly, name: str, dim: int, index: int) -> str:
    """One of the entries along an axis (aten.select)."""
    shape = assembly.shape(name)
    arguments: dict[str, Argument] = {"self": Ref(name), "dim": dim, "index": index}
    return assembly.apply("aten.select.int", (*shape[:dim], *shape[dim + 1 :]), arguments)


def _require_steps(steps: int) -> None:
    if steps < 1:
        raise InvalidRequest(f"there is at least one step, not {steps}")


def _no_states(assembly: Assembly, step: Step) -> dict[str, str]:
    shapes = {name: step.result.input(name).shape for name in sorted(step.states)}
    return {
        name: assembly.constant(Interval.exact(torch.zeros(shape, dtype=torch.float64)), name)
        for name, shape in shapes.items()
    }


def _advanced(assembly: Assembly, step: Step, values: Mapping[str, str]) -> dict[str, str]:
    after = dict(values)
    for name, graph in step.carried.items():
        after[name] = assembly.insert(graph, values)
        if assembly.shape(after[name]) != assembly.shape(values[name]):
            raise InvalidRequest(f"a step returns {name!r} in another shape than it takes")
    return after
