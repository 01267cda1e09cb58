"""Certificates asked for from Python: what travels, what comes back, what is refused at once."""

import json
import math

import numpy as np
import pytest

from certisolve import Certificate, Client, InvalidReply, MockTransport, Reply
from certisolve._certify import build_certify
from certisolve._solves import Defaults

DEFAULTS = Defaults(None, 60.0)
U0 = np.array([[0.1, 0.2]])
BODY = {
    "upper": 2.5,
    "lower": 2.0,
    "status": "certified",
    "reason": None,
    "method": "chain",
    "map": "the map of one request",
    "domain": {"center": {"u0": [[0.1, 0.2]]}, "radius": 0.1, "norm": "linf"},
    "enclosure": {"lower": [-1.0], "upper": [1.0]},
    "norms": {"input": "linf", "output": "linf"},
    "soundness": "real",
    "rounding": None,
    "witness": {
        "kind": "pair",
        "x": {"u0": [[0.1, 0.2]]},
        "y": {"u0": [[0.15, 0.25]]},
        "lower": 2.0,
    },
    "history": [[0.1, None, 1.0], [0.2, 2.5, 2.0]],
    "error_amplification": {"radius": 0.1, "output_change": 0.25, "statement": "..."},
    "methods": {"chain": "bound", "mean_value": "takes a bounded set"},
    "rules": ["aten.linear.default"],
    "model": {"name": "m", "version": "1", "digest": "d"},
    "graph": "g",
    "elapsed_s": 0.3,
    "evidence": {"multipliers": [[0.1, 1e-300]]},
}


def built(**question):
    return build_certify("certify", "m", question, DEFAULTS)


def test_a_ball_travels_in_its_own_precision():
    call = built(center={"u0": U0}, radius=0.1, norm="linf", inputs={"a": 1}, budget_s=5)
    assert call.body == {"domain": {"radius": 0.1, "norm": "linf"}, "budget_s": 5.0}
    assert call.tensors["domain.center.u0"].dtype == np.float64
    assert call.tensors["domain.center.u0"] is U0
    assert call.tensors["inputs.a"] == 1
    assert call.timeout_s == 65.0


def test_boxes_and_everything_travel():
    call = built(lower={"u0": U0}, upper={"u0": U0}, steps=3, t=0.5, component=0)
    assert call.body["domain"] == {}
    assert set(call.tensors) == {"domain.lower.u0", "domain.upper.u0"}
    assert (call.body["steps"], call.body["t"], call.body["component"]) == (3, 0.5, 0)
    assert built(domain="global", resolution=[64, 64]).body["domain"] == "global"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({}, "center, radius"),
        ({"radius": 1.0}, "center, radius"),
        ({"center": {"u0": U0}}, "radius"),
        ({"center": {"u0": U0}, "radius": -1.0}, "negative"),
        ({"center": {"u0": U0}, "radius": math.nan}, "finite"),
        ({"center": {"u0": U0}, "radius": "large"}, "radius: must be a number"),
        ({"center": {"u0": U0}, "radius": 1.0, "norm": "l3"}, "norm"),
        ({"lower": {"u0": U0}}, "lower, upper"),
        ({"domain": "global", "radius": 1.0}, "several"),
        ({"domain": "everything"}, "global"),
        ({"domain": "global", "budget_s": math.inf}, "budget_s"),
        ({"domain": "global", "t": -1.0}, "t: must"),
        ({"domain": "global", "steps": 0}, "steps"),
        ({"domain": "global", "output_norm": "L2"}, "output_norm"),
        ({"domain": "global", "parameters": {"nu": math.nan}}, "parameters.nu"),
        ({"domain": "global", "norm": "linf"}, "norm: of the radius of a ball"),
        ({"lower": {"u0": U0}, "upper": {"u0": U0}, "norm": "l1"}, "norm: of the radius"),
        ({"domain": "global", "soundness": "hopeful"}, "soundness"),
    ],
)
def test_what_is_no_question_is_refused_before_it_travels(question, reason):
    with pytest.raises(ValueError, match=reason):
        built(**question)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"centre": 1}, "centre"),
        ({"domain": "global", "inputs": {"a": "text"}}, "inputs.a"),
        ({"domain": "global", "inputs": [1.0]}, "inputs: must go by names"),
        ({"domain": "global", "input_scale": 2.0}, "input_scale: must go by names"),
        ({"domain": "global", "parameters": [1.0]}, "parameters: must go by names"),
        ({"center": U0, "radius": 1.0}, "domain.center: must go by names"),
        ({"domain": "global", "budget_s": None}, "budget_s: must be a number"),
        ({"domain": "global", "t": [1.0, 2.0]}, "t: must be a number"),
        ({"domain": "global", "resolution": 64}, "resolution"),
        ({"domain": "global", "output": 3}, "output: must be text"),
        ({"domain": "global", "version": 2}, "version: must be text"),
        ({"domain": "global", "component": 0.5}, "component"),
    ],
)
def test_what_is_no_argument_is_refused_by_its_name(question, reason):
    with pytest.raises(TypeError, match=reason):
        built(**question)


def asked(reply):
    with Client("http://x", transport=MockTransport(lambda call: reply)) as client:
        return client.certify("m", center={"u0": U0}, radius=0.1, norm="linf")


def test_a_certificate_comes_back_whole(tmp_path):
    certificate = asked(Reply({}, BODY))
    assert (certificate.upper, certificate.lower, certificate.gap) == (2.5, 2.0, 1.25)
    assert certificate.history[0].upper == math.inf
    assert certificate.witness.other["u0"].tolist() == [[0.15, 0.25]]
    assert certificate.enclosure[0].tolist() == [-1.0]
    certificate.save(tmp_path / "certificate.json")
    again = Certificate.load(tmp_path / "certificate.json")
    assert again.document == certificate.document
    assert again.document["domain"]["center"]["u0"] == U0.tolist()
    assert again.document["evidence"] == BODY["evidence"]


def test_no_bound_is_told_as_such(tmp_path):
    certificate = asked(
        Reply({}, BODY | {"upper": None, "reason": "why", "witness": None, "lower": 0.0})
    )
    assert (certificate.upper, certificate.gap, certificate.witness) == (math.inf, math.inf, None)
    certificate.save(tmp_path / "certificate.json")
    assert json.loads((tmp_path / "certificate.json").read_text())["upper"] is None


@pytest.mark.parametrize("missing", ["upper", "lower", "status", "model", "history"])
def test_replies_that_lack_something_are_refused(missing):
    body = {name: value for name, value in BODY.items() if name != missing}
    with pytest.raises(InvalidReply):
        asked(Reply({}, body))


def test_a_job_is_waited_for():
    replies = [
        Reply({}, {"id": "j", "status": "queued"}),
        Reply({}, {"id": "j", "status": "succeeded", "result": BODY}),
    ]
    with Client("http://x", transport=MockTransport(lambda call: replies.pop(0))) as client:
        certificate = client.certify("m", domain="global")
    assert certificate.upper == 2.5


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "certificate.json").write_text("{}")
    with pytest.raises(InvalidReply):
        Certificate.load(tmp_path / "certificate.json")
