"""How tight and how quick certified bounds are, beside what others publish: one table."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import certify_networks as networks
import torch
from publish import write_section
from report import is_busy, markdown, processor, table, verdict
from rich.console import Console
from rich.progress import track
from torch import nn

from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.certificate import Certificate
from certisolve_server.certifier.errors import CertifierError
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.portfolio import certify
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Ball, Everything, Region

HEADINGS = (
    "network",
    "set, norms",
    "published anchor",
    "target",
    "upper",
    "lower",
    "upper / lower",
    "method",
    "target met after, s",
    "total, s",
    "verdict",
)
DIGITS = range(3)
SMOOTH = (("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid), ("SiLU", nn.SiLU), ("GELU", nn.GELU))


@dataclass(frozen=True)
class Target:
    """What is to be reached, in words and as a test of a pair of bounds, and within which time."""

    words: str
    is_met: Callable[[float, float], bool]
    seconds: float


@dataclass(frozen=True)
class Case:
    """One row: a network, a set, norms, and what is known of it."""

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    where: str
    region: Callable[[], Region]
    norms: Norms
    anchor: str
    target: Target


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


def cases() -> Iterator[Case]:
    """All rows."""
    everywhere = partial(Case, where="everything, l2", region=Everything, norms=Norms("l2", "l2"))
    for name, hidden in (("64-32-10", (32,)), ("64-32-32-10", (32, 32))):
        yield everywhere(
            name=f"digits {name}",
            network=partial(networks.digits_perceptron, *hidden),
            shape=(1, 64),
            anchor="LipSDP by an SDP solver",
            target=ratio(1.06, 2.0),
        )
    for name, hidden, limits in (
        ("64-32-10", (32,), ((0.05, 1.01), (0.2, 1.01), (0.5, 1.01))),
        ("64-32-32-10", (32, 32), ((0.05, 1.05), (0.2, 1.25), (0.5, 1.6))),
    ):
        for radius, limit in limits:
            yield from _digits_boxes(name, hidden, radius, limit)
    yield everywhere(
        name="digits, 2 convolutions",
        network=networks.digits_convolution,
        shape=(1, 64),
        anchor="dense SDP",
        target=ratio(1.25, 10.0),
    )
    yield from _smooth()
    for depth, width in ((2, 32), (5, 32), (8, 32)):
        yield everywhere(
            name=f"MaxMin, {depth} layers of {width}",
            network=partial(networks.maxmin, depth, width),
            shape=(1, 10),
            anchor="LipSDP with multipliers of MaxMin, SDP solver",
            target=ratio(1.3, 10.0),
        )
    yield everywhere(
        name="FNO, 16 channels, 12 modes, 4 layers",
        network=partial(networks.random_fno, 16, 12, 4),
        shape=(1, 64),
        anchor="product of norms 500, attack 1.7 on other weights",
        target=below(26.0, 5.0),
    )
    for seed in range(2):
        yield everywhere(
            name=f"sandwich layers, gamma 10, seed {seed}",
            network=partial(networks.sandwiches, (8, 32, 32, 32, 4), 10.0, seed),
            shape=(1, 8),
            anchor="10 by construction",
            target=below(10.0 * (1 + 1e-6), 10.0),
        )
    yield everywhere(
        name="ECLipsE, depth 50, width 100",
        network=partial(networks.eclipse, 50, 100),
        shape=(1, 4),
        anchor="ECLipsE-Fast 1.33e-6",
        target=below(8e-7, 10.0),
    )
    yield everywhere(
        name="perceptron 784-256-10",
        network=networks.wide_perceptron,
        shape=(1, 784),
        anchor="LipDiff 9.8 s on a GPU, LipSDP 47 s",
        target=ratio(1.6, 5.0),
    )


def _digits_boxes(
    name: str, hidden: tuple[int, ...], radius: float, limit: float
) -> Iterator[Case]:
    anchors = {0.05: "1.275", 0.2: "2.196", 0.5: "2.926"}
    for image in DIGITS:
        yield Case(
            name=f"digits {name}, image {image}",
            network=partial(networks.digits_perceptron, *hidden),
            shape=(1, 64),
            where=f"box of {radius}, linf",
            region=partial(_around_digit, image, radius),
            norms=Norms("linf", "linf"),
            anchor=f"auto_LiRPA {anchors[radius]}" if len(hidden) > 1 else "",
            target=ratio(limit, 10.0),
        )


def _smooth() -> Iterator[Case]:
    anchors = {
        ("tanh", 0.5): "2.94",
        ("tanh", 2.0): "5.32",
        ("sigmoid", 0.5): "1.22",
        ("sigmoid", 2.0): "2.28",
        ("SiLU", 0.5): "4.52",
        ("SiLU", 2.0): "140.7",
    }
    for name, activation in SMOOTH:
        for radius, limit in ((0.5, 1.1), (2.0, 1.3)):
            known = anchors.get((name, radius))
            yield Case(
                name=f"3-6-6-2, {name}",
                network=partial(networks.smooth_perceptron, activation, 0),
                shape=(1, 3),
                where=f"box of {radius}, linf",
                region=partial(_around_zero, 3, radius),
                norms=Norms("linf", "linf"),
                anchor=f"auto_LiRPA {known}" if known else "",
                target=ratio(limit, 0.5),
            )


def ratio(limit: float, seconds: float) -> Target:
    """Upper by lower at most `limit`."""
    words = f"upper / lower <= {limit:g} in {seconds:g} s"
    return Target(words, lambda upper, lower: upper <= limit * lower, seconds)


def below(limit: float, seconds: float) -> Target:
    """Upper at most `limit`."""
    return Target(f"<= {limit:.8g} in {seconds:g} s", lambda upper, _lower: upper <= limit, seconds)


def row(case: Case) -> tuple[str, ...]:
    """Certified, and said how it went."""
    graph = prepare(torch_program(case.network(), case.shape), {"x": case.shape})
    problem = Problem(graph, case.region(), case.norms)
    start = time.perf_counter()
    try:
        answer = best(problem, case.target.seconds)
    except CertifierError as error:
        took = f"{time.perf_counter() - start:.1f}"
        told = (f"{type(error).__name__}: {error}"[:60], "", "", "", "", took, "missed")
        return (case.name, case.where, case.anchor, case.target.words, *told)
    met_after = next(
        (t for t, upper, lower in answer.history if case.target.is_met(upper, lower)), math.inf
    )
    return (
        case.name,
        case.where,
        case.anchor,
        case.target.words,
        f"{answer.upper:.4g}",
        f"{answer.lower:.4g}",
        f"{answer.gap:.4f}",
        answer.method,
        f"{met_after:.2f}" if met_after < math.inf else "",
        f"{answer.elapsed_s:.1f}",
        verdict(met_after <= case.target.seconds),
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


def _around_digit(image: int, radius: float) -> Region:
    pixels = networks.digits()[0][image : image + 1].double()
    return Ball({"x": pixels}, radius, "linf")


def _around_zero(entries: int, radius: float) -> Region:
    return Ball({"x": torch.zeros(1, entries, dtype=torch.float64)}, radius, "linf")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--write", action="store_true", help="into README.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
