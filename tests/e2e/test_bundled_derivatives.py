"""Derivatives of the bundled models, asked for as their users do."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from certisolve import Client, ModelInfo
from certisolve_server.artifacts import golden_cases, scan
from certisolve_server.bench import LocalServer, local_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "models" / "artifacts"
PAGE = ROOT / "docs" / "derivatives.md"
K = 2
#: Of float32; linear systems are solved to 1e-8.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def bundled() -> Iterator[LocalServer]:
    if not ARTIFACTS.is_dir():
        pytest.fail("models/artifacts is missing: run `make models`")
    with local_server(ARTIFACTS) as server:
        yield server


def sample(info: ModelInfo) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Inputs and parameters of the first golden case."""
    [artifact] = [each for each in scan(ARTIFACTS).artifacts if each.digest == info.digest]
    case = next(iter(golden_cases(artifact)))
    inputs = {spec.name: case.inputs[spec.name][0] for spec in info.manifest.inputs}
    passed = [spec for spec in info.manifest.parameters if spec.program_input]
    return inputs, {spec.name: float(case.inputs[spec.name][0]) for spec in passed}


def random_like(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Directions, about as large as most values of an array."""
    size = np.median(np.abs(array)) or 1.0
    return (0.1 * size * rng.standard_normal((K, *np.shape(array)))).astype(np.float32)


def inner(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> np.ndarray:
    return np.sum(
        [(first[n].astype(np.float64) * second[n]).reshape(K, -1).sum(axis=1) for n in first],
        axis=0,
    )


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_every_bundled_model_has_derivatives_that_agree(scheme: str, bundled: LocalServer) -> None:
    """<v, J u> = <J^T v, u>, with u of all inputs and parameters and v of all outputs."""
    with Client(bundled.url(scheme), timeout=120) as client:
        models = client.models()
        assert len(models) >= 14
        for info in models:
            assert info.manifest.differentiable
            rng = np.random.default_rng(3)
            inputs, parameters = sample(info)
            t = info.manifest.t[:3] if info.manifest.advances else None
            tangents = {name: random_like(rng, array) for name, array in inputs.items()}
            of_parameters = {n: random_like(rng, np.asarray(v)) for n, v in parameters.items()}
            forward = client.jvp(
                info.name,
                inputs,
                tangents,
                parameter_tangents=of_parameters,
                parameters=parameters,
                t=t,
            )
            fields = forward.solution.fields
            cotangents = {name: random_like(rng, field) for name, field in fields.items()}
            backward = client.vjp(info.name, inputs, cotangents, parameters=parameters, t=t)
            assert forward.solution.status == backward.solution.status == "ok"
            gap = inner(cotangents, dict(forward.derivatives))
            gap -= inner(tangents, dict(backward.derivatives))
            if parameters:
                gap -= inner(of_parameters, dict(backward.parameter_derivatives))
            scale = inner(cotangents, cotangents) * inner(
                dict(forward.derivatives), dict(forward.derivatives)
            )
            assert (np.abs(gap) < ROUNDING * np.sqrt(scale)).all(), info.name


def test_the_page_runs_as_written(bundled: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    url = bundled.url("http")
    exec(compile(first.replace("http://127.0.0.1:8000", url), PAGE.name, "exec"), {})
    misfits = [float(line) for line in capsys.readouterr().out.split()]
    assert len(misfits) == 8
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[-1] < 0.05
    with Client(url) as client:
        names = {"client": client, "np": np}
        exec(compile(second, PAGE.name, "exec"), names)
    assert names["derivative"].solution.fields["y"].shape == (2, 2)
    assert names["derivative"].derivatives["y"].shape == (2, 2, 2)
    assert names["back"].derivatives["y"].shape == (2,)
    assert names["back"].parameter_derivatives["mu"].shape == ()
