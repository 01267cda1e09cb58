"""How tight and how quick certified bounds are, beside what others give: one table."""

import argparse
import math
import sys
import time

import torch
from certify_cases import Case, cases
from publish import write_section
from report import is_busy, markdown, processor, table, verdict
from rich.console import Console
from rich.progress import track
from torch import nn

from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.certificate import Certificate
from certisolve_server.certifier.errors import CertifierError
from certisolve_server.certifier.portfolio import certify
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem

HEADINGS = (
    "network",
    "set, norms",
    "anchor",
    "target",
    "upper",
    "lower",
    "upper / lower",
    "method",
    "target met after, s",
    "total, s",
    "verdict",
)


def main() -> None:
    """Measure, print, and write where asked to."""
    arguments = _arguments()
    if arguments.write and is_busy():
        sys.exit("no times are published from a busy machine")
    torch.set_num_threads(1)
    chosen = [case for case in cases() if arguments.only in case.name]
    # Wide enough for all columns where the output is no terminal.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 220)
    rows = [row(case) for case in track(chosen, "certifying", console=Console(stderr=True))]
    console.print(table(HEADINGS, rows))
    if arguments.write:
        lines = [f"One thread of {processor()}.", "", *markdown(HEADINGS, rows)]
        write_section("certify", lines)


def row(case: Case) -> tuple[str, ...]:
    """Certified, and said how it went."""
    net = case.network()
    standard = case.standard(net)
    target = standard.target
    told = (case.name, case.where, standard.anchor, target.words)
    graph = prepare(torch_program(net, case.shape), {"x": case.shape})
    problem = Problem(graph, case.region(), case.norms)
    start = time.perf_counter()
    try:
        answer = best(problem, target.budget_s or target.seconds)
    except CertifierError as error:
        took = f"{time.perf_counter() - start:.1f}"
        return (*told, f"{type(error).__name__}: {error}"[:60], "", "", "", "", took, "missed")
    met_after = next((t for t, *bounds in answer.history if target.is_met(*bounds)), math.inf)
    return (
        *told,
        f"{answer.upper:.5g}",
        f"{answer.lower:.5g}",
        f"{answer.gap:.4f}" if answer.gap < math.inf else "-",
        answer.method,
        f"{met_after:.2f}" if met_after < math.inf else "",
        f"{answer.elapsed_s:.1f}",
        verdict(met_after <= target.seconds),
    )


def best(problem: Problem, seconds: float) -> Certificate:
    """The last certificate of a search."""
    *_, last = certify(problem, Budget(seconds, 1.0001), time.perf_counter)
    return last


def torch_program(net: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """The network with one input, x, in the type of its weights."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    dtype = next((each.dtype for each in net.parameters()), torch.float64)
    return torch.export.export(Named().eval(), (torch.zeros(shape, dtype=dtype),))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--write", action="store_true", help="into README.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
