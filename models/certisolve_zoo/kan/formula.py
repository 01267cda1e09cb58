"""Formulas with free constants: their refit to values, and the rounding of their constants."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp  # type: ignore[import-untyped]  # has no stubs
from jaxtyping import Float64
from scipy.optimize import least_squares

Points = tuple[Float64[np.ndarray, " point"], ...]
Values = Float64[np.ndarray, " point"]

# A constant is recognised within this distance, relative to itself or to one, and only if the
# formula with it is as good as without: its error may grow by the other factor.
NEAR, AS_GOOD = 2e-3, 1.1
MAX_EVALUATIONS = 200  # of the formula in one refit
WRONG = 1e3  # in place of a difference that is not a number


@dataclass(frozen=True)
class Formula:
    """An expression in variables and constants.

    Attributes:
        expression: of both.
        variables: in the order in which points are given.
        constants: those that are free, with their values.
    """

    expression: sp.Expr
    variables: tuple[sp.Symbol, ...]
    constants: dict[sp.Symbol, float]

    def values(self, points: Points) -> Values:
        """The formula at the points."""
        compiled = sp.lambdify(self.variables, self.numeric(), "numpy")
        return np.broadcast_to(compiled(*points), points[0].shape).astype(np.float64)

    def numeric(self) -> sp.Expr:
        """The expression with the values of its constants."""
        return self.expression.subs(self.constants)

    def rmse(self, points: Points, values: Values) -> float:
        """Root of the mean squared difference from the values."""
        return float(np.sqrt(np.mean((self.values(points) - values) ** 2)))


def refitted(formula: Formula, points: Points, values: Values) -> Formula:
    """The formula with the constants nearest to the values, in least squares."""
    if not formula.constants:
        return formula
    symbols = tuple(formula.constants)
    predict = _compiled(formula, [formula.expression])
    slopes = _compiled(formula, [sp.diff(formula.expression, symbol) for symbol in symbols])
    found = least_squares(
        # Constants that leave the domain of a logarithm are as bad as can be, but no error.
        lambda constants: np.nan_to_num(predict(points, constants)[0] - values, nan=WRONG),
        np.array(list(formula.constants.values())),
        jac=lambda constants: np.nan_to_num(slopes(points, constants)).T,
        x_scale="jac",
        max_nfev=MAX_EVALUATIONS,
    )
    constants = dict(zip(symbols, (float(value) for value in found.x), strict=True))
    return replace(formula, constants=constants)


def rounded(formula: Formula, points: Points, values: Values) -> Formula:
    """The refitted formula with recognisable constants wherever it stays as good.

    Args:
        formula: refitted.
        points: at which it was refitted.
        values: to which it was refitted.
    """
    allowed = AS_GOOD * formula.rmse(points, values)
    for symbol in tuple(formula.constants):
        for constant in _recognisable(formula.constants[symbol]):
            others = {each: v for each, v in formula.constants.items() if each != symbol}
            expression = formula.expression.subs(symbol, constant)
            trial = refitted(Formula(expression, formula.variables, others), points, values)
            if trial.rmse(points, values) <= allowed:
                formula = trial
                break
    return formula


def _recognisable(value: float) -> Iterator[sp.Expr]:
    """Integers, halves, and multiples of half of π near the value, the simplest first."""
    candidates = (
        sp.Integer(round(value)),
        sp.Rational(round(2 * value), 2),
        sp.pi * sp.Rational(round(2 * value / np.pi), 2),
    )
    for candidate in dict.fromkeys(candidates):
        if abs(float(candidate) - value) <= NEAR * max(1.0, abs(value)):
            yield candidate


def _compiled(
    formula: Formula, expressions: list[sp.Expr]
) -> Callable[[Points, Float64[np.ndarray, " constant"]], Float64[np.ndarray, "expression point"]]:
    symbols = (*formula.variables, *formula.constants)
    function = sp.lambdify(symbols, expressions, "numpy", cse=True)

    def evaluate(
        points: Points, constants: Float64[np.ndarray, " constant"]
    ) -> Float64[np.ndarray, "expression point"]:
        with np.errstate(all="ignore"):
            rows = function(*points, *constants)
        return np.stack([np.broadcast_to(row, points[0].shape) for row in rows])

    return evaluate
