"""How sharp are bounds of Fourier layers on small sets? One table, of the bundled models.

Around a smooth field, on balls of linf, in l2: the norm of the Jacobian at the center, which no
bound can be below, what `expansion` proves, and what `fourier` proves of the same ball.

    python benchmarks/expansion.py [--seconds 10] [--write]
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from publish import write_section
from report import markdown, table
from rich.console import Console
from rich.progress import track

from certisolve_server.certifier.graph.node import Graph
from certisolve_server.certifier.methods.expansion import Expansion
from certisolve_server.certifier.methods.fourier import Fourier
from certisolve_server.certifier.methods.method import Board, Bound, Method
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from bundled_requests import REQUESTS, Request

MODELS = ("burgers1d-fno", "ks1d-ffno", "ks1d-memno", "ns2d-fno")
RADII = (1e-4, 1e-3, 1e-2)
HEADINGS = ("model", "grid", "radius", "Jacobian at the center", "expansion", "fourier")

_PAGE = Path(__file__).parents[1] / "docs" / "certificates-of-fourier-layers.md"


def main() -> None:
    """Bounds, prints, and writes where asked to: no column is a time."""
    told = _arguments()
    torch.set_num_threads(1)
    names = track(MODELS, "certifying", console=Console(stderr=True))
    found = [each for name in names for each in rows(name, REQUESTS[name], told.seconds)]
    Console(width=None if sys.stdout.isatty() else 160).print(table(HEADINGS, found))
    if told.write:
        write_section("expansion", markdown(HEADINGS, found), _PAGE)


def rows(name: str, request: Request, seconds: float) -> Iterator[tuple[str, ...]]:
    """One model, ball by ball."""
    graph = request.graph(name)
    (shape,) = request.shapes.values()
    at_center = bound(Expansion(), _problem(graph, request, 0.0), seconds)
    for radius in RADII:
        problem = _problem(graph, request, radius)
        numbers = (bound(method, problem, seconds) for method in (Expansion(), Fourier()))
        grid = " x ".join(str(size) for size in shape[1:])
        yield name, grid, f"{radius:g}", f"{at_center:.4g}", *(f"{each:.4g}" for each in numbers)


def bound(method: Method, problem: Problem, seconds: float) -> float:
    """The least bound some seconds after the first."""
    best, end = float("inf"), float("inf")
    for found in method.run(problem, Board()):
        if isinstance(found, Bound):
            end = min(end, time.perf_counter() + seconds)
            best = min(best, found.upper)
        if time.perf_counter() > end:
            break
    return best


def _problem(graph: Graph, request: Request, radius: float) -> Problem:
    return Problem(graph, Ball(request.centers(), radius, "linf"), Norms("l2", "l2"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for `fourier`, each time")
    parser.add_argument("--write", action="store_true", help=f"into {_PAGE.name}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
