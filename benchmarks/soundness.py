"""Does any pair of inputs refute a certificate? 100,000 of them, over all bundled models.

Each model is certified on several sets and in several norms by every method that gives a bound.
Then pairs are drawn from the set, at all distances, and others on the way of an attack to where the
map is steepest; each has to be less steep than every bound. One violation ends it with an error.

    python benchmarks/soundness.py [--pairs 100000] [--models NAME ...] [--seconds 5] [--write]
"""

import argparse
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from publish import write_section
from report import markdown, processor, table
from rich.console import Console

from certisolve_server.certifier.errors import NotCertified, UnsupportedOperator
from certisolve_server.certifier.falsify.target import Target, target_of
from certisolve_server.certifier.methods.method import Board, Bound
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything, Region

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundled_requests import REQUESTS, Request
from refutation import ROUNDING, Pairs, attacked, sampled, slopes

#: In which differences are measured: (inputs, outputs).
NORMS = (("l2", "l2"), ("linf", "linf"), ("l1", "linf"))

HEADINGS = (
    "model",
    "set",
    "norms",
    "pairs",
    "steepest",
    "least bound",
    "by",
    "bounds",
    "violations",
)

#: Pairs that are evaluated at a time, as far as memory goes.
_BATCH = 500
_NUMBERS = 20_000_000

#: How many times longer a method may take for its first bound.
_PATIENCE = 12

#: Models of which a point passes through more numbers are certified in fewer norms.
_LARGE = 20_000


@dataclass(frozen=True)
class Case:
    """One set and two norms."""

    name: str
    place: str
    problem: Problem


def main() -> int:
    """The number of violations; prints the table."""
    told = _arguments()
    torch.set_num_threads(1)
    rows, total, violations = [], 0, 0
    per_model = -(-told.pairs // len(told.models))
    for name in told.models:
        for row, count, refuted in _judged(name, per_model, told.seconds):
            rows.append(row)
            total, violations = total + count, violations + refuted
            print(" | ".join(row), file=sys.stderr, flush=True)
    Console().print(table(HEADINGS, rows))
    print(f"{total} pairs, {violations} violations")
    if told.write and not violations:
        note = f"{processor()}; {total} pairs, no violations."
        write_section("soundness", [note, "", *markdown(HEADINGS, rows)])
    return violations


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--models", nargs="*", default=list(REQUESTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="for each method on each set")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def _judged(name: str, pairs: int, seconds: float) -> Iterator[tuple[list[str], int, int]]:
    cases = list(_cases(name, REQUESTS[name]))
    for case in cases:
        bounds = _bounds(case.problem, seconds)
        if not bounds:
            continue
        target = target_of(case.problem)
        steepest, count = 0.0, 0
        for batch in _pairs(target, -(-pairs // len(cases))):
            steepest = max(steepest, float(slopes(target, batch).amax()))
            count += len(batch[0])
        refuted = [method for method, upper in bounds.items() if not steepest <= upper * ROUNDING]
        best = min(bounds, key=lambda method: bounds[method])
        norms = case.problem.norms
        row = [name, case.place, f"{norms.inputs} to {norms.outputs}", str(count)]
        row += [f"{steepest:.4g}", f"{bounds[best]:.4g}", best, str(len(bounds))]
        yield [*row, ", ".join(refuted) or "0"], count, len(refuted)


def _cases(name: str, request: Request) -> Iterator[Case]:
    """Each set in each pair of norms; of large models, each set in one of them."""
    graph, centers = request.graph(name), request.centers()
    sets: dict[str, Region] = {
        f"linf ball, {request.radius:g}": Ball(centers, request.radius, "linf"),
        f"l2 ball, {10 * request.radius:g}": Ball(centers, 10 * request.radius, "l2"),
        "everything": Everything(),
    }
    numbers = sum(math.prod(node.shape) for node in graph.nodes)
    pairs = itertools.product(sets.items(), NORMS)
    if numbers > _LARGE:
        pairs = zip(sets.items(), NORMS, strict=True)
    for (place, region), (p, q) in pairs:
        yield Case(name, place, Problem(graph, region, Norms(p, q)))


def _bounds(problem: Problem, seconds: float) -> dict[str, float]:
    """The least bound of each method, some seconds after its first one."""
    found: dict[str, float] = {}
    for method in METHODS:
        start = time.perf_counter()
        patience = _PATIENCE * seconds
        board = Board(lambda end=start + patience: end - time.perf_counter())
        with contextlib.suppress(NotCertified, UnsupportedOperator):
            for bound in method.run(problem, board):
                took = time.perf_counter() - start
                if isinstance(bound, Bound):
                    if method.name not in found:
                        patience = took + seconds
                    found[method.name] = min(bound.upper, found.get(method.name, math.inf))
                if took > patience:
                    break
    return found


def _pairs(target: Target, count: int) -> Iterator[Pairs]:
    """Half of them sampled, half of them attacked."""
    generator = torch.Generator().manual_seed(0)
    batch = max(1, min(_BATCH, _NUMBERS // target.numbers))
    for _ in range(-(-count // (2 * batch))):
        yield sampled(target, batch, generator)
    rows = max(1, min(64, batch // 4))
    steps = max(4, min(30, count // (2 * rows)))
    for _ in range(-(-count // (2 * rows * steps))):
        yield from attacked(target, rows, steps, generator)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
