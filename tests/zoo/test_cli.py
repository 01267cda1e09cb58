import pytest
from typer.testing import CliRunner

from certisolve_zoo.catalog import CATALOG
from certisolve_zoo.cli import app


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_list_names_every_model(invoke):
    output = invoke("list").output
    assert all(name in output for name in CATALOG)


@pytest.mark.parametrize("command", ["train", "evaluate", "baselines", "build"])
def test_an_unknown_model_is_named(invoke, command):
    result = invoke(command, "nonesuch")
    assert result.exit_code == 2
    assert "nonesuch" in result.output


def test_a_second_build_does_nothing(invoke, tmp_path):
    outputs = [invoke("build", "kan-formula", "--out", str(tmp_path)).output for _ in range(2)]
    assert "kan-formula: built" in outputs[0]
    assert "kan-formula: up to date" in outputs[1]
