"""What joining and leaving between steps is worth to rollouts of different lengths."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from publish import write_section
from report import is_busy, markdown, processor, table, verdict
from rich.console import Console
from rollout_runs import Served, continuous, poisson, request_level

from certisolve_server.artifacts import golden_cases, scan
from certisolve_server.engines import SteppingEngine, open_device
from certisolve_server.engines.families import open_engine
from certisolve_server.jobs import SolveJob, Work

MODELS = ("ks1d-ffno", "ns2d-fno")
BATCH_SIZES = (8, 32)
#: Of which the offered load is varied; the size is what the server allows on a processor.
VARIED = ("ks1d-ffno", 8)
LONGEST = 256
#: Offered load, as a share of what request-level batches can carry; the first is all at once.
LOADS = (float("inf"), 0.3, 0.6, 0.9, 1.5)
POLICIES = {"continuous": continuous, "request-level": request_level}
ARTIFACTS = Path(__file__).parents[1] / "models" / "artifacts"
PLOT = Path(__file__).with_name("rollouts.svg")
TARGET = 2.0
HEADINGS = (
    "model",
    "batch",
    "offered/s",
    "batches",
    "answered/s",
    "p50 ms",
    "p99 ms",
    "rows wanted",
)


class Point(NamedTuple):
    """One row of the table."""

    model: str
    batch_size: int
    load: float
    policy: str


class Measured(NamedTuple):
    """What came of one row."""

    offered_per_s: float
    served: Served
    num_wanted: int

    @property
    def per_s(self) -> float:
        """Requests answered per second."""
        return len(self.served.latencies) / self.served.elapsed_s

    def latency_ms(self, percent: float) -> float:
        """A percentile."""
        seconds: float = np.percentile(self.served.latencies, percent).item()
        return 1e3 * seconds


def main() -> None:
    """Measure, print, and write where asked to."""
    arguments = _arguments()
    console = Console(highlight=False)
    if arguments.write and is_busy():
        sys.exit("nothing is published from a busy machine")
    torch.set_num_threads(1)
    measured: dict[Point, Measured] = {}
    for name in MODELS:
        engine, jobs = _requests(name, arguments.num_requests)
        for batch_size in BATCH_SIZES:
            measured |= _measure(name, engine, jobs, batch_size)
    rows = list(_rows(measured))
    conditions = _conditions(arguments.num_requests)
    console.print(conditions)
    console.print(table(HEADINGS, rows))
    lines = _targets(measured)
    console.print("\n".join(lines))
    if arguments.write:
        _draw(measured)
        plot = f"![Latency against offered load]({PLOT.name})"
        written = [conditions, "", *markdown(HEADINGS, rows), "", *lines, "", plot]
        write_section("rollouts", written)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put table and plot beside this file")
    parser.add_argument("--num-requests", type=int, default=256, help="of each row of the table")
    return parser.parse_args()


def _requests(name: str, count: int) -> tuple[SteppingEngine, list[SolveJob]]:
    """Golden inputs with a little noise, for steps that spread evenly in the logarithm."""
    [artifact] = [each for each in scan(ARTIFACTS).artifacts if each.manifest.name == name]
    engine = open_engine(artifact, open_device("cpu", num_threads=1))
    assert isinstance(engine, SteppingEngine)
    rng, case = np.random.default_rng(0), next(iter(golden_cases(artifact)))
    steps = np.floor(np.exp(rng.uniform(0.0, np.log(LONGEST + 1), count))).astype(int)
    jobs = []
    for number, last in enumerate(steps.tolist()):
        fields = [case.inputs[spec.name] for spec in artifact.manifest.inputs]
        golden = [field[number % len(field)] for field in fields]
        row = [f * (1 + 1e-3 * rng.standard_normal(f.shape).astype(f.dtype)) for f in golden]
        jobs.append(engine.job(row, Work(steps=(last,), checks=False)))
    return engine, jobs


def _measure(
    name: str, engine: SteppingEngine, jobs: Sequence[SolveJob], batch_size: int
) -> dict[Point, Measured]:
    """Both kinds of batches on the same traces, one after the other."""
    num_wanted = sum(job.work.steps[-1] for job in jobs)
    measured: dict[Point, Measured] = {}
    capacity = 1.0
    for serve in POLICIES.values():  # warms up
        serve(engine, poisson(jobs[: 2 * batch_size], float("inf"), seed=0), batch_size)
    for load in LOADS if (name, batch_size) == VARIED else LOADS[:1]:
        trace = poisson(jobs, load * capacity, seed=1)
        for policy, serve in POLICIES.items():
            served = serve(engine, trace, batch_size)
            point = Point(name, batch_size, load, policy)
            measured[point] = Measured(load * capacity, served, num_wanted)
        if load == LOADS[0]:
            capacity = measured[Point(name, batch_size, load, "request-level")].per_s
    return measured


def _rows(measured: dict[Point, Measured]) -> Iterator[tuple[str, ...]]:
    for point, what in measured.items():
        at_once = point.load == LOADS[0]
        yield (
            point.model,
            str(point.batch_size),
            "all at once" if at_once else f"{what.offered_per_s:.1f}",
            point.policy,
            f"{what.per_s:.1f}",
            f"{what.latency_ms(50):.0f}",
            f"{what.latency_ms(99):.0f}",
            f"{what.num_wanted / what.served.num_rows:.0%}",
        )


def _conditions(num_requests: int) -> str:
    software = f"1 thread, torch {torch.__version__.split('+')[0]}"
    return (
        f"{processor()}, {software}; {num_requests} requests per row, for the frame after 1 to "
        f"{LONGEST} steps; Poisson arrivals; latencies from arrival to answer."
    )


def _targets(measured: dict[Point, Measured]) -> list[str]:
    lines = []
    for point, what in measured.items():
        if point.load == LOADS[0] and point.policy == "continuous":
            ratio = what.per_s / measured[point._replace(policy="request-level")].per_s
            lines.append(
                f"- {point.model}, batch {point.batch_size}: {ratio:.1f} times the throughput of "
                f"request-level batches; at least {TARGET:g} wanted: {verdict(ratio >= TARGET)}."
            )
    return lines


def _draw(measured: dict[Point, Measured]) -> None:
    """Latency against offered load."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "rollouts"  # so that the same numbers are the same file
    figure, place = pyplot.subplots(figsize=(5, 3.6))
    model, batch_size = VARIED
    for policy, style in zip(POLICIES, ("-", "--"), strict=True):
        points = [measured[Point(model, batch_size, load, policy)] for load in LOADS[1:]]
        offered = [point.offered_per_s for point in points]
        for percent, colour in ((50, "C0"), (99, "C1")):
            latencies = [point.latency_ms(percent) for point in points]
            label = f"{policy}, p{percent}"
            place.plot(offered, latencies, "o" + style, color=colour, label=label)
    title = f"{model}, batch {batch_size}"
    place.set(xlabel="requests offered per second", ylabel="latency, ms", yscale="log", title=title)
    place.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
