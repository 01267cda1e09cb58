"""The commands of docs/bring-your-own.md, run as they are written, and served by a real process."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from certisolve import Client
from certisolve_server.bench import LocalServer, local_server

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "bring-your-own.md"
HEAT = ROOT / "examples" / "export" / "heat.py"
FOLDER = "my-models"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What the first shell block of the guide makes, run in a folder of its own."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "examples").symlink_to(ROOT / "examples")
    block = re.search(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert block is not None
    for command in block[1].replace("\\\n", " ").strip().splitlines():
        program, *arguments = shlex.split(command)
        launch = {
            "python": [sys.executable],
            "certisolve": [sys.executable, "-m", "certisolve_server"],
        }
        if arguments[0] == "serve":
            continue
        run = subprocess.run(
            [*launch[program], *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    _export_unmeasured(folder)
    return folder / FOLDER


def _export_unmeasured(folder):
    draft = json.loads(HEAT.with_suffix(".json").read_text()) | {"name": "unmeasured"}
    (folder / "draft.json").write_text(json.dumps(draft))
    options = ["-m", "draft.json", "--out", FOLDER, "--unmeasured"]
    command = [sys.executable, "-m", "certisolve_server", "export", f"{HEAT}:build", *options]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)


@pytest.fixture(scope="module")
def exported(repository):
    with local_server(repository) as server:
        yield server


def problem(num_points=128, alpha=0.03):
    x = np.arange(num_points) / num_points
    u0 = 0.5 * np.sin(2 * np.pi * x) + 0.2 * np.sin(6 * np.pi * x)
    u = 0.5 * np.exp(-alpha * (2 * np.pi) ** 2 * 0.1) * np.sin(2 * np.pi * x)
    u += 0.2 * np.exp(-alpha * (6 * np.pi) ** 2 * 0.1) * np.sin(6 * np.pi * x)
    return u0, u


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_the_exported_model_solves_the_heat_equation(exported: LocalServer, door):
    u0, expected = problem()
    with Client(exported.url(door)) as client:
        solution = client.solve("heat1d", {"u0": u0}, parameters={"alpha": 0.03})
    difference = np.linalg.norm(solution.fields["u"] - expected)
    assert difference <= 1e-6 * np.linalg.norm(expected)
    assert solution.diagnostics.in_validated_range
    assert 0 < solution.diagnostics.expected_error < 1e-6


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_an_answer_whose_error_nobody_knows_says_so(exported: LocalServer, call, door):
    u0, _ = problem()
    with Client(exported.url(door)) as client:
        solution = client.solve("unmeasured", {"u0": u0})
    assert solution.diagnostics.expected_error is None
    assert not solution.diagnostics.in_validated_range
    assert (
        "x=64: never measured" in call("models", "unmeasured", "--url", exported.url(door)).stdout
    )


def test_the_line_that_is_printed_can_be_pasted(exported: LocalServer, repository):
    import httpx

    body = (repository / "heat1d" / "1" / "example.json").read_bytes()
    reply = httpx.post(f"{exported.http}/v1/models/heat1d/solve", content=body)
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["fields"]["u"]) == 64


@pytest.fixture
def export(call, tmp_path):
    """Export the heat equation, or something else, into a folder of the test."""

    def run(model=f"{HEAT}:build", *arguments):
        manifest = HEAT.with_suffix(".json")
        return call("export", model, "-m", manifest, "--out", tmp_path / "models", *arguments)

    return run


@pytest.fixture
def refused(export):
    """The one line that a refused export says, and the name of its error."""

    def run(*arguments):
        result = export(*arguments)
        assert result.exit_code == 1, result.output
        [line] = result.stderr.strip().splitlines()
        found = re.match(r"error (\w+): (.*)", line)
        assert found is not None
        return found[1], found[2]

    return run


def test_a_model_without_errors_is_exported_only_when_told_so(refused, export):
    name, line = refused()
    assert name == "NotMeasured"
    assert "--reference" in line
    assert "--unmeasured" in line
    result = export(f"{HEAT}:build", "--unmeasured")
    assert result.exit_code == 0
    assert "never measured" in result.stdout
    assert "curl http://127.0.0.1:8000/v1/models/heat1d/solve -d @" in result.stdout


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "has no function build"),
        ("import nonsense_that_is_nowhere", r"nonsense_that_is_nowhere.* at .*net.py:1"),
        ("def build(): return 3", "returns a int"),
        ("def build(): return 1 / 0", r"ZeroDivisionError.* at .*net.py:1"),
        ("def build(", "SyntaxError"),
    ],
)
def test_a_file_that_makes_no_module_is_refused_with_the_line(refused, tmp_path, source, said):
    path = tmp_path / "net.py"
    path.write_text(source)
    name, line = refused(f"{path}:build")
    assert name == "BuildError"
    assert re.search(said, line)


@pytest.mark.parametrize(
    ("model", "said"),
    [("nowhere.py:build", "no such file"), ("net.py", "names no function")],
)
def test_a_target_that_names_nothing_is_refused(refused, model, said):
    name, line = refused(model)
    assert name == "BuildError"
    assert said in line


NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
    def forward(self, u0, alpha):
        return self.gain * u0

def build():
    return Net().eval()
"""


def test_weights_come_from_a_file_and_must_be_the_networks(export, refused, tmp_path):
    path, weights = tmp_path / "net.py", tmp_path / "weights.safetensors"
    path.write_text(NETWORK)
    save_file({"gain": np.full((), 3.0, np.float32)}, weights)
    options = ("--weights", weights, "--unmeasured")
    assert export(f"{path}:build", *options).exit_code == 0
    golden = load_file(tmp_path / "models" / "heat1d" / "1" / "golden.safetensors")
    np.testing.assert_allclose(golden["x=64/outputs/u"], 3 * golden["x=64/inputs/u0"])
    save_file({"loss": np.full((), 3.0, np.float32)}, weights)
    name, line = refused(f"{path}:build", *options)
    assert name == "BuildError"
    assert "gain" in line


def test_an_operator_that_servers_do_not_run_is_refused_by_the_export(refused, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NETWORK.replace("self.gain * u0", "torch.ops.aten.tanh_backward(u0, u0)"))
    name, line = refused(f"{path}:build", "--unmeasured")
    assert name == "UnlistedOperator"
    assert re.search(r"aten\.tanh_backward\.default at .*net\.py:10: `return torch", line)


def test_the_call_from_python_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"```python\n(from pathlib.*?)```", GUIDE.read_text(), re.DOTALL)
    exec(compile(program, "bring-your-own.md", "exec"), {})
    assert capsys.readouterr().out == f"{Path(FOLDER) / 'halve' / '1'} 0.0\n"


def test_a_draft_that_cannot_be_read_is_one_line(call, tmp_path):
    draft = tmp_path / "draft.json"
    draft.write_text("{")
    result = call("export", f"{HEAT}:build", "-m", draft)
    assert result.exit_code == 1
    assert result.stderr.startswith("error DraftError: ")
    draft.write_text(json.dumps({**json.loads(HEAT.with_suffix(".json").read_text()), "t": "now"}))
    assert "error DraftError: manifest: t" in call("export", f"{HEAT}:build", "-m", draft).stderr


def test_the_guide_explains_every_error_and_the_command_every_option(call):
    from certisolve_export import ExportError, errors

    text = GUIDE.read_text()
    for each in vars(errors).values():
        if isinstance(each, type) and each is not ExportError:
            assert f"`{each.__name__}`" in text
    help_text = call("export", "--help").stdout
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in help_text or option == "--models"
