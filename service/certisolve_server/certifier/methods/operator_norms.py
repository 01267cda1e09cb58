"""M0 of networks too large for matrices: norms of operators that know their structure, multiplied.

With m_j at least |dh_j|_p for inputs that move by 1, |dh_k|_p <= cap_k sum_j |A_kj|_{p->p} m_j.
Where the norms of inputs and outputs differ, the better of both is used for all layers.
"""

import math
from collections.abc import Iterator
from functools import reduce
from typing import TypeAlias

import torch

from certisolve_server.certifier.arithmetic.norms import Norm
from certisolve_server.certifier.arithmetic.rounding import Numbers, product_up, sqrt_up, sum_up, up
from certisolve_server.certifier.operators import Composition, LinearOperator, Sum
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.structure import operators_of_problem
from certisolve_server.certifier.structure.operators import Operators, Runs

#: By the identity of an operator, which is alive as long as these are used, and norm.
_Known: TypeAlias = dict[tuple[int, Norm], Numbers]

_ONE = torch.ones((), dtype=torch.float64)


def operator_bound(problem: Problem) -> Iterator[float | None]:
    """None after the norm of each operator, and at the end a bound, possibly inf.

    Raises:
        NotCertified: an operator of the graph has no structure that is known.
        UnsupportedOperator: a rule does not hold for some arguments.
    """
    graph, norms = problem.require_map(), problem.norms
    operators = operators_of_problem(problem)
    known: _Known = {}
    for norm in dict.fromkeys((norms.inputs, norms.outputs)):
        for runs in (*(layer.runs for layer in operators.layers), operators.output):
            for run in runs.values():
                yield from _leaves(run, norm, known)
    inputs = sum(math.prod(each.shape) for each in graph.inputs)
    at_outputs = product_up(
        _product(operators, norms.inputs, known),
        _identity(norms.inputs, norms.outputs, operators.outputs),
    )
    at_inputs = product_up(
        _product(operators, norms.outputs, known), _identity(norms.inputs, norms.outputs, inputs)
    )
    yield float(product_up(torch.minimum(at_outputs, at_inputs), _of_weights(problem)))


def _leaves(run: LinearOperator | None, norm: Norm, known: _Known) -> Iterator[None]:
    """Norms of all that a run is made of, each operator once however many runs share it."""
    if run is None or (id(run), norm) in known:
        return
    if isinstance(run, Composition | Sum):
        for part in run.parts:
            yield from _leaves(part, norm, known)
        parts = [known[id(part), norm] for part in run.parts]
        join = product_up if isinstance(run, Composition) else sum_up
        known[id(run), norm] = reduce(join, parts)
        return
    known[id(run), norm] = torch.tensor(run.norm_bound(norm), dtype=torch.float64)
    yield


def _product(operators: Operators, norm: Norm, known: _Known) -> Numbers:
    moved: dict[str, Numbers] = dict.fromkeys(operators.inputs, _ONE)
    for layer in operators.layers:
        cap = layer.slopes.cap.amax() if layer.slopes.neurons else 0.0 * _ONE
        moved[layer.name] = product_up(cap, _arriving(layer.runs, moved, norm, known))
    return _arriving(operators.output, moved, norm, known)


def _arriving(runs: Runs, moved: dict[str, Numbers], norm: Norm, known: _Known) -> Numbers:
    total = torch.zeros((), dtype=torch.float64)
    for source, run in runs.items():
        bound = _ONE if run is None else known[id(run), norm]
        total = sum_up(total, product_up(bound, moved[source]))
    return total


def _identity(p: Norm, q: Norm, size: int) -> Numbers:
    """|I|_{p->q} on so many entries."""
    power = {"l1": 2, "l2": 1, "linf": 0}
    root = sqrt_up(torch.tensor(float(size), dtype=torch.float64))
    exponent = max(0, power[q] - power[p])
    return _ONE if exponent == 0 else root if exponent == 1 else product_up(root, root)


def _of_weights(problem: Problem) -> Numbers:
    """At least the largest weight of an output by the smallest of an input."""
    into, out = problem.norms.input_weights, problem.norms.output_weights
    factor = _ONE if into is None else up(_ONE / into.lower.amin())
    return factor if out is None else product_up(factor, out.magnitude.amax())
