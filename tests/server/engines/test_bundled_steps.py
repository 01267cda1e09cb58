"""Answers of the bundled models that step do not depend on who steps beside them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from certisolve_server.artifacts import GoldenCase, golden_cases, scan
from certisolve_server.engines import Ended, SteppingEngine, open_device
from certisolve_server.engines.families import open_engine
from certisolve_server.engines.stepping import finish
from certisolve_server.jobs import SolveJob, Work
from derivatives import ARTIFACTS
from lanes import serve

STEPPING = ("rollout", "memory-rollout", "feedback-ode", "ode")
BUNDLED = {
    artifact.manifest.name: artifact
    for artifact in scan(ARTIFACTS).artifacts
    if artifact.manifest.family in STEPPING
}
NUM_SLOTS = 32
#: Measurements, or frames of a history, that are sent: fewer than the models take.
LONGEST = 6


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small programs lose more on threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def job_of(engine: SteppingEngine, case: GoldenCase, seed: int) -> SolveJob:
    """A golden request, and a little of noise, for other times."""
    rng, manifest = np.random.default_rng(seed), engine.artifact.manifest
    row = []
    for spec in manifest.inputs:
        golden = case.inputs[spec.name][seed % len(case.inputs[spec.name])]
        if manifest.frame_axes(spec) != spec.axes:
            golden = golden[:LONGEST]
        noise = 0.01 * rng.standard_normal(golden.shape)
        row.append((golden * (1 + noise)).astype(golden.dtype))
    taken = [spec for spec in manifest.parameters if spec.program_input]
    row += [np.float32(rng.uniform(spec.minimum, spec.maximum)) for spec in taken]
    steps = tuple(sorted({int(step) for step in rng.integers(1, 9, 2)}))
    if manifest.integration is None:
        return engine.job(row, Work(steps=steps))
    t = manifest.integration.horizon * np.array(steps) / 8
    return engine.job(row, Work(t=tuple(t.tolist())))


def assert_close(together: Ended, alone: Ended, tolerance: float) -> None:
    assert (together.error, together.ending) == (None, alone.ending)
    counts = "nfe", "rejected_steps"
    assert [together.findings.get(name) for name in counts] == [
        alone.findings.get(name) for name in counts
    ]
    for actual, expected in zip(together.outputs, alone.outputs, strict=True):
        assert np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_request_comes_to_the_same_alone_and_among_31_others(name: str) -> None:
    artifact = BUNDLED[name]
    engine = open_engine(artifact, open_device("cpu", num_threads=1))
    assert isinstance(engine, SteppingEngine)
    case = next(iter(golden_cases(artifact)))
    jobs = [job_of(engine, case, seed) for seed in range(NUM_SLOTS)]
    arrivals = np.random.default_rng(0).integers(0, 6, NUM_SLOTS).tolist()
    broken = 9
    endless = np.full_like(jobs[broken].inputs[0], np.inf)
    jobs[broken] = engine.job(
        [endless, *jobs[broken].inputs[1:], *map(np.float32, jobs[broken].parameters)],
        jobs[broken].work,
    )
    together = serve(engine, jobs, arrivals, num_slots=NUM_SLOTS)
    diverged = together[broken]
    assert diverged is not None
    assert diverged.ending == "diverged"
    for index in (0, 1, 2, 13, 31):
        came_to = together[index]
        assert came_to is not None
        [alone] = finish(engine, [jobs[index]])
        assert_close(came_to, alone, artifact.manifest.batch_tolerance)
