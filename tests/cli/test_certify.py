"""Certificates from a shell: asked for, kept, drawn, and proven again."""

import json

import numpy as np
import pytest

from certisolve import Certificate

U0 = np.linspace(0.1, 0.9, 16)


@pytest.fixture
def u0(tmp_path):
    path = tmp_path / "u0.npy"
    np.save(path, U0)
    return path


@pytest.fixture
def kept(call, server, u0, tmp_path):
    """A certificate in a file."""
    path = tmp_path / "certificate.json"
    ball = ["--center", u0, "--radius", 0.1, "--norm", "linf"]
    result = call("certify", "double", *ball, "-o", path, "--plot", "--url", server.http)
    assert result.exit_code == 0, result.output
    return path


def test_a_ball_is_certified_kept_and_drawn(kept):
    certificate = Certificate.load(kept)
    assert certificate.upper == pytest.approx(2.0)
    assert certificate.lower == pytest.approx(2.0)
    assert certificate.norms["input"] == "linf"
    assert kept.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_says_what_was_proven(call, url, u0):
    more = ["--output-norm", "l1", "--budget", 2]
    result = call("certify", "double", "--center", f"u0={u0}", "--radius", 0.1, *more, "--url", url)
    assert result.exit_code == 0, result.output
    for text in ("double 1", "one forward pass", "l2 to l1", "upper", "lower", "gap", "0.1 in l2"):
        assert text in result.stdout


def test_boxes_and_everything_are_certified(call, server, tmp_path):
    np.save(tmp_path / "low.npy", U0 - 1)
    np.save(tmp_path / "high.npy", U0 + 1)
    box = ["--lower", tmp_path / "low.npy", "--upper", tmp_path / "high.npy"]
    for arguments in (box, ["--global"]):
        result = call("certify", "double", *arguments, "--url", server.http)
        assert result.exit_code == 0, result.output
        assert "upper   2 by" in result.stdout


def test_a_certificate_is_proven_again(call, server, kept, small_models):
    result = call("certificate", "verify", kept, "--models", small_models)
    assert result.exit_code == 0, result.output
    assert "The certificate holds." in result.stdout
    assert "upper" in call("certificate", "show", kept).stdout


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"upper": 1.5}, "not 1.5"),
        ({"lower": 3.0}, ""),
        ({"graph": "0" * 64}, "another graph"),
        ({"method": "belief"}, "no method"),
    ],
)
def test_what_was_changed_in_a_certificate_is_not_proven(
    refuse, kept, small_models, change, reason
):
    document = json.loads(kept.read_text()) | change
    if "lower" in change:
        document["witness"]["lower"] = change["lower"]
    kept.write_text(json.dumps(document))
    line = refuse("certificate", "verify", kept, "--models", small_models, exit_code=2)
    assert "not proven" in line
    assert reason in line


def test_what_holds_no_certificate_is_refused(refuse, kept, small_models, tmp_path):
    (tmp_path / "none.json").write_text("{}")
    assert "certificate" in refuse("certificate", "verify", tmp_path / "none.json")
    assert "No such file" in refuse("certificate", "show", tmp_path / "missing.json")
    document = json.loads(kept.read_text()) | {"evidence": None}
    kept.write_text(json.dumps(document))
    assert "evidence" in refuse("certificate", "verify", kept, "--models", small_models)
    assert "double" in refuse("certificate", "verify", kept, "--models", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "center, radius"),
        (["--center", "u0.npy"], "radius"),
        (["--center", "missing.npy", "--radius", 1], "no such file"),
        (["--center", "u0.npy", "--radius", 1, "--norm", "l3"], "norm"),
        (["--center", "a=u0.npy", "--radius", 1], "unknown_input"),
        (["--global", "--resolution", "fine"], "write sizes"),
        (["--global", "--resolution", "17"], "resolution"),
        (["--global", "--soundness", "hope"], "soundness"),
        (["--global", "--norm", "linf"], "input_norm"),
        (["--global", "--budget", "-1"], "budget_s"),
        (["--global", "--field", "w"], "output"),
        (["--global", "-o", "nowhere/certificate.json"], "no directory nowhere"),
    ],
)
def test_what_is_no_question_is_one_line(
    refuse, server, u0, monkeypatch, tmp_path, arguments, reason
):
    monkeypatch.chdir(tmp_path)
    assert reason in refuse("certify", "double", *arguments, "--url", server.http)
