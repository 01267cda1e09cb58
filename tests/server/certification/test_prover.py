"""From a job to its certificate, in the process that proves."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from certify_models import hard, write_certify_models
from certify_requests import BALL, CENTER
from certisolve_server import errors
from certisolve_server.artifacts import read_artifact
from certisolve_server.broker.envelope import encode_job
from certisolve_server.certification import admission, prover, question, reply
from certisolve_server.certification.programs import Programs
from certisolve_server.certification.prover import Prover, refusals
from certisolve_server.certification.request import BoxDomain, CertifyRequest
from certisolve_server.certification.subjects import open_subject
from certisolve_server.certifier import errors as certifier_errors
from certisolve_server.certifier.budget import Budget
from certisolve_server.certifier.portfolio import certify
from certisolve_server.jobs import Artifact, SolveContext, SolveJob, Work
from helpers import Pointwise, field_manifest, write_artifact

CONTEXT = SolveContext((), {}, None, None, diagnostics=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_certify_models(root)
    write_artifact(root, Pointwise(torch.floor), field_manifest("steps"))
    write_artifact(root, Pointwise(lambda u: torch.digamma(u + 1)), field_manifest("sums"))
    return root


def artifact(models: Path, name: str) -> Artifact:
    return read_artifact(models / name / "1")


class Asking:
    """A prover, and what it tells."""

    def __init__(self, models: Path) -> None:
        self.prover = Prover()
        self.told: list[tuple[bytes, bytes]] = []
        self._models = models

    def __call__(self, request: CertifyRequest) -> dict[str, object]:
        found = artifact(self._models, request.model)
        checked = admission.check(request, found.manifest, max_budget_s=600.0)
        asked = question.encode(checked)
        work = Work(kind="certify", question=asked.text)
        job = SolveJob("1", found.key, asked.arrays, (), 0.0, CONTEXT, work=work)
        document = self.prover.prove(
            encode_job(job).to_bytes(),
            directory=found.directory,
            budget_s=request.budget_s,
            tell=lambda *parts: self.told.append(parts),
        )
        return json.loads(document)


@pytest.fixture
def ask(models: Path) -> Asking:
    return Asking(models)


def request(name: str = "double", **changes) -> CertifyRequest:
    return replace(CertifyRequest(name, BALL, budget_s=2.0), **changes)


def test_a_certificate_says_what_was_asked_and_of_what(ask, models):
    said = ask(request(output_norm="l2", component=3, seed=4))
    key = artifact(models, "double").key
    assert said["model"] == {"name": "double", "version": "1", "digest": key.digest}
    assert said["domain"] == {"center": {"u0": CENTER.tolist()}, "radius": 0.1, "norm": "linf"}
    assert said["request"] == {"output": "u", "component": 3}
    assert (said["norms"]["input"], said["norms"]["output"]) == ("linf", "l2")
    assert (said["seed"], said["budget_s"]) == (4, 2.0)
    assert said["upper"] == pytest.approx(2.0, rel=1e-3)
    assert said["gap"] == said["upper"] / said["lower"]
    amplification = said["error_amplification"]
    assert amplification["output_change"] >= 0.1 * said["upper"]
    assert np.shape(said["witness"]["x"]["u0"]) == (16,)


def test_a_map_is_prepared_once_for_all_sets(ask, monkeypatch):
    opened = []

    def counting(*arguments):
        opened.append(arguments)
        return original(*arguments)

    original = prover.open_subject
    monkeypatch.setattr(prover, "open_subject", counting)
    uppers = [
        ask(request(domain=replace(BALL, radius=radius)))["domain"]["radius"]
        for radius in (0.1, 0.2, 0.3)
    ]
    ask(request(domain=BoxDomain({"u0": CENTER - 1}, {"u0": CENTER}), input_norm="linf",
                output_norm="linf"))  # fmt: skip
    assert uppers == [0.1, 0.2, 0.3]
    assert len(opened) == 1
    ask(request(output_norm="l1"))
    assert len(opened) == 2


def test_what_is_told_meanwhile_is_proven_but_without_its_evidence(ask):
    box = hard(0.5)
    domain = BoxDomain(box["lower"], box["upper"])
    said = ask(CertifyRequest("network", domain, budget_s=3.0, gap=1.0))
    assert ask.told
    for short, whole in ask.told:
        brief, full = json.loads(short), json.loads(whole)
        assert brief["evidence"] is None
        assert brief | {"evidence": full["evidence"]} == full
        assert brief["status"] == "improving"
        assert brief["upper"] is None or brief["upper"] >= said["upper"]
        assert brief["lower"] <= said["lower"]


def test_refusals_name_operator_and_node(ask):
    with pytest.raises(errors.PossiblyDiscontinuous, match="floor"):
        ask(request("steps"))
    with pytest.raises(errors.UnsupportedOperator, match="digamma"):
        ask(request("sums"))


def test_another_artifact_in_its_place_is_not_certified(models, tmp_path):
    root = tmp_path / "models"
    shutil.copytree(models / "double", root / "double")
    ask = Asking(root)
    job_of_the_old = request()
    manifest = root / "double" / "1" / "manifest.json"
    known = artifact(root, "double")
    manifest.write_text(manifest.read_text() + " ")
    asked = question.encode(admission.check(job_of_the_old, known.manifest, max_budget_s=9.0))
    work = Work(kind="certify", question=asked.text)
    job = SolveJob("1", known.key, asked.arrays, (), 0.0, CONTEXT, work=work)
    with pytest.raises(errors.ModelNotReady, match="another artifact"):
        ask.prover.prove(
            encode_job(job).to_bytes(),
            directory=known.directory,
            budget_s=1.0,
            tell=lambda *parts: None,
        )


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (certifier_errors.UnsupportedOperator("aten.foo", "bar"), errors.UnsupportedOperator),
        (certifier_errors.PossiblyDiscontinuous("aten.ge", "bar"), errors.PossiblyDiscontinuous),
        (certifier_errors.NotCertified("it overflows"), errors.NotCertified),
        (certifier_errors.InvalidRequest("no such size"), errors.InvalidOption),
        (MemoryError(), errors.NotCertified),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), errors.NotCertified),
        (RuntimeError("a defect"), RuntimeError),
        (certifier_errors.Contradiction("norms", 1.0, 2.0), certifier_errors.Contradiction),
    ],
)
def test_errors_of_the_certifier_become_those_of_the_server(raised, told):
    with pytest.raises(told), refusals():
        raise raised


def test_the_reason_of_no_bound_says_who_had_too_little_time(models):
    found, asked = artifact(models, "double"), request(budget_s=0.0)
    _, program = Programs().load(found.key, Path(found.directory))
    subject = open_subject(asked, found.manifest, program)
    budget = Budget(asked.budget_s, asked.gap, None)
    *_, nothing = certify(subject.problem, budget, time.monotonic, methods=[])
    nothing = replace(nothing, notes={"norms": "cannot"})

    def reason(budget_s: float) -> str:
        asked_for = replace(asked, budget_s=budget_s)
        return reply.document(nothing, subject, asked_for, found.key)["reason"]

    assert reason(0.0).startswith("no bound by fourier, expansion, chain")
    assert reason(0.0).endswith("within budget_s; a larger one may do; norms: cannot")
    assert reason(600.0) == "norms: cannot"
