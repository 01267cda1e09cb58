import re
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from typer.testing import CliRunner

from certisolve_zoo import friction_law
from certisolve_zoo.cli import app
from certisolve_zoo.kan.edge_fit import best_fit
from certisolve_zoo.kan.formula import Formula, refitted, rounded
from certisolve_zoo.kan.library import LIBRARY
from certisolve_zoo.kan.symbolic import read_out
from certisolve_zoo.records import WEIGHTS
from certisolve_zoo.symbols import READINGS

PAGE = Path(__file__).parents[2] / "docs" / "symbolic.md"


@pytest.mark.parametrize("function", LIBRARY, ids=lambda function: function.name)
def test_every_function_of_the_library_is_recognised(function):
    x = np.linspace(0.3, 1.7, 200)
    a, b = (0.8, 0.0) if function.freedom != "none" else (1.0, 0.0)
    if function.name == "|x|":
        b = -0.8  # its kink inside
    if function.name == "arcsin(x)":
        a, b = 1.3, -1.25  # its steep ends inside
    y = 2 * function.values(a * x + b) - 1
    fit = best_fit(x, y)
    assert fit.function.name == function.name
    # The simplex stops where R² is one to rounding.
    assert fit.unexplained < 1e-9


def test_a_fit_is_the_function_it_claims():
    x = np.linspace(-1, 3, 200)
    fit = best_fit(x, 3 * np.sin(2 * x + 0.4) - 5)
    fitted = fit.c * fit.function.values(fit.a * x + fit.b) + fit.d
    np.testing.assert_allclose(fitted, 3 * np.sin(2 * x + 0.4) - 5, atol=1e-6)


def test_constants_are_refitted_and_recognised_only_where_they_are():
    x, p, q = sp.symbols("x p q")
    formula = Formula(sp.sin(p * x) + q * x, (x,), {p: 3.0, q: 0.6})
    points = (np.linspace(-1, 1, 300),)
    values = np.sin(np.pi * points[0]) + 0.5003 * points[0]
    found = rounded(refitted(formula, points, values), points, values)
    assert found.expression == sp.sin(sp.pi * x) + q * x
    assert found.constants[q] == pytest.approx(0.5003, abs=1e-9)


def test_the_formula_is_recovered_from_the_weights():
    reading = READINGS["kan-formula"]
    found = read_out(reading.readable(reading.network(WEIGHTS)))
    x, y = sp.symbols("x y")
    assert sp.simplify(found.formula.expression - sp.exp(sp.sin(sp.pi * x) + y**2)) == 0
    # Of float32 inputs, whose rounding the target does not see.
    assert reading.formula_error(found.formula) < 1e-6


def test_colebrooks_law_is_recovered_in_its_implicit_form():
    found = read_out(READINGS["friction-law"].readable(friction_law.load(WEIGHTS)))
    roughness, s = sp.symbols("roughness s")
    difference = found.formula.numeric() + 2 * sp.log(roughness / 3.7 + 2.51 * s, 10)
    # 1/√f is between 3.6 and 6.6 on these pipes, and the network has it to 5e-4.
    for point in ((1e-3, 2.5e-4), (1e-3, 9e-4), (0.045, 2.5e-4), (0.045, 9e-4)):
        assert abs(float(difference.subs(dict(zip((roughness, s), point, strict=True))))) < 2e-4


@pytest.mark.parametrize("name", READINGS)
def test_the_page_shows_what_the_command_prints(name):
    page = PAGE.read_text(encoding="utf-8")
    _, found, rest = page.partition(f"$ python -m certisolve_zoo symbols {name}\n")
    assert found
    shown, _, _ = rest.partition("```")
    result = CliRunner().invoke(app, ["symbols", name])
    assert result.exit_code == 0
    assert _words(shown) == _words(result.output)
    # Unexplained variances and errors are printed with a digit or two, which may round over.
    np.testing.assert_allclose(_numbers(result.output), _numbers(shown), rtol=1e-3, atol=2e-3)


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?")


def _words(text):
    return NUMBER.sub("#", text).split()


def _numbers(text):
    return [float(number) for number in NUMBER.findall(text)]


def test_models_without_splines_have_no_symbols():
    result = CliRunner().invoke(app, ["symbols", "burgers1d-fno"])
    assert result.exit_code == 2
    assert "kan-formula" in result.output
