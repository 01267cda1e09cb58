"""What steps of each sample's own save in a batch of ordinary differential equations."""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ode_runs import Problem, Solved, errors, own_steps, shared_steps
from publish import write_section
from report import is_busy, markdown, processor, table
from rich.console import Console

from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.specs.vanderpol_node import HALF_WIDTH, HORIZON, SPEC, TIMES

SHARED, OWN, SWITCHING = "shared", "own", "own, Rodas3 where stiff"
BATCH_SIZES = (8, 64)
TOLERANCES = (1e-3, 1e-4, 1e-5)
#: Of the plot. Own steps are the same in every batch.
LINES = (
    *((SHARED, size, f"shared, batches of {size}") for size in BATCH_SIZES),
    (OWN, BATCH_SIZES[-1], OWN),
    (SWITCHING, BATCH_SIZES[-1], SWITCHING),
)
PLOT = Path(__file__).with_name("odes.svg")
#: Far below the tolerances that are compared.
EXACT_RTOL = 1e-9
TARGET = 2.0
HEADINGS = (
    "requests",
    "batch",
    "rtol",
    "steps",
    "evaluations",
    "fewer by",
    "rejected",
    "calls",
    "mean error",
    "worst error",
    "CPU ms per request",
)


class Mix(NamedTuple):
    """Requests with μ between two bounds, spread evenly in its logarithm."""

    name: str
    lower: float
    upper: float


class Run(NamedTuple):
    """One row of the table."""

    mix: Mix
    batch_size: int
    rtol: float
    steps: str


MIXES = (Mix("μ from 0.5 to 50", 0.5, 50.0), Mix("μ = 5", 5.0, 5.0))


def main() -> None:
    """Measure, print, and write where asked to."""
    arguments = _arguments()
    console = Console(highlight=False)
    if arguments.write and is_busy() and not arguments.without_times:
        sys.exit("no times are published from a busy machine: add --without-times")
    torch.set_num_threads(1)
    solved = {}
    with torch.inference_mode():
        for mix in MIXES:
            solved |= _measured(mix, arguments.num_requests)
    rows = list(_rows(solved, arguments.num_requests))
    headings = HEADINGS
    if arguments.without_times:
        headings, rows = HEADINGS[:-1], [row[:-1] for row in rows]
    conditions = _conditions(arguments.num_requests)
    console.print(conditions)
    console.print(table(headings, rows))
    lines = _targets(solved)
    console.print("\n".join(lines))
    if arguments.write:
        _draw(solved)
        write_section("odes", [conditions, "", *markdown(headings, rows), "", *lines])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put table and plot beside this file")
    parser.add_argument("--without-times", action="store_true", help="leave the last column out")
    parser.add_argument("--num-requests", type=int, default=256, help="of each mix")
    return parser.parse_args()


def _measured(mix: Mix, num_requests: int) -> dict[Run, tuple[Solved, torch.Tensor]]:
    """All runs of a mix, and the errors of their samples."""
    exact = own_steps(_problem(mix, num_requests, EXACT_RTOL, torch.float64), 64, switching=False)
    runs = {}
    for rtol, batch_size in itertools.product(TOLERANCES, BATCH_SIZES):
        problem = _problem(mix, num_requests, rtol, torch.float32)
        for steps, solved in (
            (SHARED, shared_steps(problem, batch_size)),
            (OWN, own_steps(problem, batch_size, switching=False)),
            (SWITCHING, own_steps(problem, batch_size, switching=True)),
        ):
            runs[Run(mix, batch_size, rtol, steps)] = solved, errors(solved, exact.states)
    return runs


def _problem(mix: Mix, num_requests: int, rtol: float, dtype: torch.dtype) -> Problem:
    """Requests in random order, the field in the precision of the states."""
    network = load_model(SPEC, WEIGHTS).to(dtype)
    drawn = torch.from_numpy(np.random.default_rng(0).uniform(size=(num_requests, 3)))
    # What a request holds, float32, is where the exact way begins, too.
    y0 = (HALF_WIDTH * (2 * drawn[:, :2] - 1)).float().to(dtype)
    mu = (mix.lower * (mix.upper / mix.lower) ** drawn[:, 2]).float().to(dtype)
    t_eval = torch.tensor(TIMES, dtype=torch.float64)
    return Problem(lambda t, y, m: network(y, t, m), y0, mu, t_eval, rtol, 0.1 * rtol)


def _rows(
    solved: dict[Run, tuple[Solved, torch.Tensor]], num_requests: int
) -> Iterator[tuple[str, ...]]:
    for run, (result, error) in solved.items():
        shared, _ = solved[run._replace(steps=SHARED)]
        yield (
            run.mix.name,
            str(run.batch_size),
            f"{run.rtol:.0e}",
            run.steps,
            f"{result.evaluations / num_requests:.0f}",
            f"{shared.evaluations / result.evaluations:.1f}",
            f"{result.rejected / num_requests:.1f}",
            str(result.calls),
            f"{error.mean():.1e}",
            f"{error.max():.1e}",
            f"{1e3 * result.time_s / num_requests:.1f}",
        )


def _conditions(num_requests: int) -> str:
    software = f"1 thread, torch {torch.__version__.split('+')[0]}"
    return (
        f"{processor()}, {software}; {num_requests} requests to t = {HORIZON:g}, float32, atol = "
        "rtol/10; evaluations and rejected steps per request, calls in all; errors against the "
        "exact flow of the same field, rmse over 40 times."
    )


def _targets(solved: dict[Run, tuple[Solved, torch.Tensor]]) -> list[str]:
    lines = []
    for steps in (OWN, SWITCHING):
        ratios = [
            solved[run._replace(steps=SHARED)][0].evaluations / solved[run][0].evaluations
            for run in solved
            if run.steps == steps and run.mix is MIXES[0]
        ]
        met = "met" if min(ratios) >= TARGET else "missed"
        lines.append(
            f"- {MIXES[0].name}, steps {steps}: {min(ratios):.1f} to {max(ratios):.1f} times fewer "
            f"evaluations than with shared steps; at least {TARGET:g} wanted: {met}."
        )
    return lines


def _draw(solved: dict[Run, tuple[Solved, torch.Tensor]]) -> None:
    """Error against work, one panel per mix."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "odes"  # so that the same numbers are the same file
    figure, places = pyplot.subplots(
        1, len(MIXES), figsize=(9, 4), sharey=True, layout="constrained"
    )
    for place, mix in zip(places, MIXES, strict=True):
        for steps, batch_size, label in LINES:
            runs = [Run(mix, batch_size, rtol, steps) for rtol in TOLERANCES]
            _line(place, [solved[run] for run in runs], label)
        place.set(yscale="log", title=mix.name, xlabel="evaluations per request")
        place.set_xlim(left=0)
    places[0].set_ylabel("mean error")
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(PLOT, metadata={"Date": None})


def _line(place: object, points: Sequence[tuple[Solved, torch.Tensor]], label: str) -> None:
    num_requests = len(points[0][1])
    work = [solved.evaluations / num_requests for solved, _ in points]
    place.plot(work, [float(error.mean()) for _, error in points], "o-", label=label)  # type: ignore[attr-defined]  # untyped axes


if __name__ == "__main__":
    main()
