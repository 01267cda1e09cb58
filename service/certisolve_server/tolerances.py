"""How exact an answer is asked to be, of families that let a caller choose; pure."""

from typing import NamedTuple

from certisolve.manifest import Manifest

from .errors import InvalidOption, OutOfRange
from .jobs import SolveRequest


class Tolerances(NamedTuple):
    """As a request names them; None for the manifest's.

    Attributes:
        tolerance: of the relative residual of an iterative solver.
        rtol: relative tolerance of a step of an integration.
        atol: absolute tolerance of a step of an integration.
    """

    tolerance: float | None = None
    rtol: float | None = None
    atol: float | None = None


def check(request: SolveRequest, manifest: Manifest) -> Tolerances:
    """Those of a request.

    Raises:
        InvalidOption: the model does not take one of them.
        OutOfRange: it cannot be promised.
    """
    _check_tolerance(request.tolerance, manifest)
    _check_rtol(request.rtol, manifest)
    _check_atol(request.atol, manifest)
    return Tolerances(request.tolerance, request.rtol, request.atol)


def are_loose(asked: Tolerances, manifest: Manifest) -> bool:
    """Whether the error that was measured is that of stricter tolerances."""
    iteration, integration = manifest.iteration, manifest.integration
    pairs = (
        (asked.tolerance, iteration.tolerance if iteration else None),
        (asked.rtol, integration.rtol if integration else None),
        (asked.atol, integration.atol if integration else None),
    )
    return any(a is not None and b is not None and a > b for a, b in pairs)


def _check_tolerance(tolerance: float | None, manifest: Manifest) -> None:
    if tolerance is None:
        return
    iteration = manifest.iteration
    if iteration is None:
        raise InvalidOption(f"{manifest.name} does not iterate", field="options.tolerance")
    if not iteration.smallest_tolerance <= tolerance < 1:
        raise OutOfRange(
            f"{tolerance:g} cannot be promised; use {iteration.smallest_tolerance:g} to 1",
            field="options.tolerance",
        )


def _check_rtol(rtol: float | None, manifest: Manifest) -> None:
    if rtol is None:
        return
    integration = manifest.integration
    if integration is None:
        raise InvalidOption(f"{manifest.name} is not integrated", field="options.rtol")
    if not integration.smallest_rtol <= rtol < 1:
        raise OutOfRange(
            f"{rtol:g} cannot be promised; use {integration.smallest_rtol:g} to 1",
            field="options.rtol",
        )


def _check_atol(atol: float | None, manifest: Manifest) -> None:
    if atol is None:
        return
    if manifest.integration is None:
        raise InvalidOption(f"{manifest.name} is not integrated", field="options.atol")
    if not 0 < atol < float("inf"):
        raise OutOfRange(f"{atol:g}: an absolute tolerance is positive", field="options.atol")
