"""The weights in git are as good as their records say."""

import dataclasses
import shutil

import pytest
from typer.testing import CliRunner

from certisolve_zoo.cli import app
from certisolve_zoo.evaluation import measure_errors
from certisolve_zoo.records import WEIGHTS, Record, StaleRecordError, load_model
from certisolve_zoo.specs import burgers1d_fno
from certisolve_zoo.training import relative_l2

FRESH_SAMPLES = 50


def test_unseen_samples_are_answered_within_the_recorded_error(spec, model, tmp_path):
    record = Record.load(WEIGHTS, spec.name)
    measured = measure_errors(model, spec, tmp_path, FRESH_SAMPLES)
    for now, recorded in zip(measured, record.resolutions, strict=True):
        assert now.sizes == recorded.sizes
        # The first 50 of the recorded 256: their mean scatters by some 15 %.
        assert now.error < 1.5 * recorded.error
        assert now.worst_error <= 1.01 * recorded.worst_error


def test_a_record_of_other_weights_is_refused(spec, tmp_path):
    record = dataclasses.replace(Record.load(WEIGHTS, spec.name), weights_sha256="0" * 64)
    record.save(tmp_path, spec.name)
    (tmp_path / f"{spec.name}.safetensors").write_bytes(b"")
    with pytest.raises(StaleRecordError, match=f"evaluate {spec.name}"):
        Record.load(tmp_path, spec.name)


def test_evaluating_other_weights_mends_their_record_and_drops_what_was_timed(tmp_path):
    name = "kan-formula"
    stale = dataclasses.replace(Record.load(WEIGHTS, name), weights_sha256="0" * 64)
    stale.save(tmp_path, name)
    shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    result = CliRunner().invoke(app, ["evaluate", name, "--weights", str(tmp_path)])
    assert result.exit_code == 0, result.output
    mended = Record.load(tmp_path, name)
    assert mended.training == stale.training
    assert stale.baselines
    assert not mended.baselines


def test_weights_stay_small(spec):
    assert (WEIGHTS / f"{spec.name}.safetensors").stat().st_size < 10_000_000


def test_burgers_learned_its_reflection_symmetry():
    model = load_model(burgers1d_fno.SPEC, WEIGHTS)
    (u0,) = burgers1d_fno.examples(8)[0]
    solution, mirrored = model(u0), -model(-u0.flip(1)).flip(1)
    error = Record.load(WEIGHTS, "burgers1d-fno").resolutions[0].error
    # Each of the two is off by the error, independently.
    assert relative_l2(mirrored, solution).mean() < 3 * error
