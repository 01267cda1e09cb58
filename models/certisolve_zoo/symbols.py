"""The formulas that Kolmogorov-Arnold networks of the zoo stand for, as tables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sympy as sp  # type: ignore[import-untyped]  # has no stubs
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from . import friction_law
from .data import Samples
from .evaluation import sample_errors
from .kan.formula import Formula, Points
from .kan.friction import OFFSET, SCALE, SMOOTHEST, FrictionKan
from .kan.network import Kan
from .kan.symbolic import Readable, ReadOut, read_out
from .records import load_model
from .spec import Metric
from .specs import kan_formula, kan_friction

NUM_UNSEEN = 256
DIGITS = 5
MOST_CONSTANTS = 12  # of a formula that is worth reading


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a network is read, and how good network and formula are.

    Attributes:
        network: from the folder of weights.
        readable: the splines of the network, and what they stand for.
        quantity: what the formula is for.
        variables: of the formula, from the inputs of the network.
        answer: the network's output, from the formula's value.
        unseen: inputs and exact outputs.
        metric: of errors on them.
    """

    network: Callable[[Path], nn.Module]
    readable: Callable[[nn.Module], Readable]
    quantity: str
    variables: Callable[..., Points]
    answer: Callable[[np.ndarray], np.ndarray]
    unseen: Callable[[], Samples]
    metric: Metric

    def formula_error(self, formula: Formula) -> float:
        """Mean error of the formula on unseen samples."""
        samples = self.unseen()
        variables = self.variables(*(tensor.double().numpy() for tensor in samples.inputs))
        values = formula.values(tuple(variable.ravel() for variable in variables))
        answer = self.answer(values).reshape(samples.target.shape)
        return self._mean_error(torch.from_numpy(answer), samples.target)

    def network_error(self, network: nn.Module) -> float:
        """The same of the network."""
        samples = self.unseen()
        with torch.inference_mode():
            answer = network(*(tensor.float() for tensor in samples.inputs))
        return self._mean_error(answer, samples.target)

    def _mean_error(self, answer: Tensor, target: Tensor) -> float:
        return float(sample_errors(answer, target, self.metric).mean())


def print_symbols(name: str, weights: Path, console: Console) -> None:
    """Every edge of a network as an elementary function, then its formula.

    Args:
        name: one of `READINGS`.
        weights: folder of the trained weights.
        console: where the tables go.
    """
    reading = READINGS[name]
    network = reading.network(weights)
    network_error = reading.network_error(network)
    found = read_out(reading.readable(network))
    console.print(_edges(found))
    lines = (
        f"{reading.quantity} = {_text(found.formula)}",
        f"free constants: {len(found.formula.constants)}",
        f"RMSE from the network: {found.composed_rmse:.1e} as composed, {found.rmse:.1e} refitted",
        f"{reading.metric} on unseen samples: network {network_error:.1e}, "
        f"formula {reading.formula_error(found.formula):.1e}",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _edges(found: ReadOut) -> Table:
    table = Table("layer", "edge", "function", "R²", "1 - R²", "complexity")
    for edge in found.edges:
        fit = edge.fit
        table.add_row(
            str(edge.layer + 1),
            f"{edge.source + 1} -> {edge.target + 1}",
            fit.function.name,
            f"{1 - fit.unexplained:.4f}",
            f"{fit.unexplained:.0e}",
            str(fit.function.complexity),
        )
    return table


def _text(formula: Formula) -> str:
    if len(formula.constants) > MOST_CONSTANTS:
        return "a fit of a curve, too long to be a law"
    expression = formula.numeric()
    digits = {number: sp.Float(number, DIGITS) for number in expression.atoms(sp.Float)}
    return str(expression.xreplace(digits))


def _kan_formula(network: nn.Module) -> Readable:
    assert isinstance(network, Kan)
    return Readable(network=network, variables=sp.symbols("x y"))


def _kan_friction(network: nn.Module) -> Readable:
    assert isinstance(network, FrictionKan)
    return Readable(
        network=network.kan,
        variables=sp.symbols("R E"),
        middles=tuple(network.coordinates.center.tolist()),
        halves=tuple(network.coordinates.half_range.tolist()),
        offset=OFFSET,
        scale=SCALE,
    )


def _friction_law(network: nn.Module) -> Readable:
    assert isinstance(network, Kan)
    middles, halves = zip(friction_law.ROUGHNESS, friction_law.SUBLAYER, strict=True)
    return Readable(
        network=network, variables=sp.symbols("roughness s"), middles=middles, halves=halves
    )


def _pipes(u: np.ndarray, w: np.ndarray) -> Points:
    boxes = zip((friction_law.ROUGHNESS, friction_law.SUBLAYER), (u, w), strict=True)
    return tuple(middle + half * coordinate for (middle, half), coordinate in boxes)


READINGS = {
    "kan-formula": Reading(
        network=lambda weights: load_model(kan_formula.SPEC, weights),
        readable=_kan_formula,
        quantity="f",
        variables=lambda x, y: (x, y),
        answer=lambda values: values,
        unseen=lambda: kan_formula.unseen(NUM_UNSEEN, Path())[0],
        metric=kan_formula.SPEC.metric,
    ),
    "kan-friction": Reading(
        network=lambda weights: load_model(kan_friction.SPEC, weights),
        readable=_kan_friction,
        quantity="1/sqrt(f)",
        variables=lambda reynolds, roughness: (np.log(reynolds), np.log(roughness + SMOOTHEST)),
        answer=lambda values: values**-2.0,
        unseen=lambda: kan_friction.unseen(NUM_UNSEEN, Path())[0],
        metric=kan_friction.SPEC.metric,
    ),
    "friction-law": Reading(
        network=friction_law.load,
        readable=_friction_law,
        quantity="1/sqrt(f)",
        variables=_pipes,
        answer=lambda values: values,
        unseen=lambda: friction_law.samples(friction_law.UNSEEN_SEED, 50_000),
        metric="rmse",
    ),
}
