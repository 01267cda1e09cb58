"""Whether an engine reproduces the golden outputs of its artifact."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certisolve import wire
from certisolve_server.artifacts import GoldenCase
from certisolve_server.jobs import Work

from .base import AbstractEngine
from .program import ProgramError
from .stepping import SteppingEngine, finish

Engine = AbstractEngine | SteppingEngine


def golden_columns(engine: Engine, case: GoldenCase) -> list[list[NDArray[Any]]]:
    """The requests of a case: per input of the manifest, then per parameter of the program.

    Raises:
        ProgramError: one is missing.
    """
    manifest = engine.artifact.manifest
    passed = [spec.name for spec in manifest.parameters if spec.program_input]
    names = [*(spec.name for spec in manifest.inputs), *passed]
    missing = [name for name in names if name not in case.inputs]
    if missing:
        raise ProgramError(f"{_where(engine, case)}: no golden input {missing[0]!r}")
    return [list(case.inputs[name]) for name in names]


def golden_work(engine: Engine, case: GoldenCase) -> Work:
    """What a case asks: as many frames as are golden."""
    manifest = engine.artifact.manifest
    golden = case.outputs.get(manifest.outputs[0].name)
    if not manifest.advances or golden is None or golden.ndim < 2:
        return Work()
    num_frames = golden.shape[1]
    if manifest.integration is not None:
        return Work(t=manifest.t[:num_frames])
    return Work(steps=tuple(range(1, num_frames + 1)))


def check_golden(engine: Engine, case: GoldenCase) -> None:
    """Run a case and compare.

    Raises:
        ProgramError: the program fails, or its outputs are not the golden ones.
    """
    manifest = engine.artifact.manifest
    outputs = _outputs(engine, case)
    if len(outputs) != len(manifest.outputs):
        raise ProgramError(
            f"{_where(engine, case)}: {len(outputs)} outputs, not as in the manifest"
        )
    for spec, actual in zip(manifest.outputs, outputs, strict=True):
        expected = case.outputs.get(spec.name)
        if expected is None or expected.shape != actual.shape:
            raise ProgramError(f"{_where(engine, case)}: {spec.name} has shape {actual.shape}")
        if actual.dtype != wire.DTYPES[spec.dtype]:
            raise ProgramError(f"{_where(engine, case)}: {spec.name} is {actual.dtype}")
        error = _rel_l2(actual, expected, case.outputs[manifest.yardstick(spec.name)])
        if not error <= manifest.golden_tolerance:
            raise ProgramError(
                f"{_where(engine, case)}: {spec.name} is off its golden value by {error:.2e} "
                f"(relative L2), more than {manifest.golden_tolerance:.0e}"
            )


def _outputs(engine: Engine, case: GoldenCase) -> list[NDArray[Any]]:
    columns, work = golden_columns(engine, case), golden_work(engine, case)
    try:
        if isinstance(engine, SteppingEngine):
            return _stepped(engine, columns, work)
        return engine.launch(columns, [work] * len(columns[0])).wait().outputs
    except Exception as error:
        raise ProgramError(f"{_where(engine, case)}: the program failed: {error}") from error


def _stepped(
    engine: SteppingEngine, columns: Sequence[Sequence[NDArray[Any]]], work: Work
) -> list[NDArray[Any]]:
    jobs = [engine.job(row, work) for row in zip(*columns, strict=True)]
    engine.prove(jobs)
    answers = finish(engine, jobs)
    for answer in answers:
        if answer.error is not None:
            raise answer.error
        if answer.ending is not None:
            raise ProgramError(f"it ended early: {answer.ending}")
    return [np.stack(column) for column in zip(*(a.outputs for a in answers), strict=True)]


def _rel_l2(actual: NDArray[Any], expected: NDArray[Any], yardstick: NDArray[Any]) -> float:
    scale = np.linalg.norm(yardstick.astype(np.float64))
    difference = np.linalg.norm(actual.astype(np.float64) - expected.astype(np.float64))
    return float(difference / scale) if scale else float(difference)


def _where(engine: Engine, case: GoldenCase) -> str:
    manifest = engine.artifact.manifest
    return f"{manifest.name}/{manifest.version}, golden case {case.name}"
