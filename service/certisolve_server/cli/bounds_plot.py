"""A picture of how two bounds of a certificate came together."""

import math
from pathlib import Path

from matplotlib.figure import Figure

from certisolve import Certificate

_INCHES = (6.4, 4.0)
_DPI = 140


def draw(path: Path, certificate: Certificate) -> None:
    """The proven upper and lower bound over the time of the search, and the gap between.

    Args:
        path: .png, .pdf or .svg.
        certificate: with its history.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.add_subplot()
    times = [each.t for each in certificate.history] + [certificate.elapsed_s]
    uppers = [each.upper for each in certificate.history] + [certificate.upper]
    lowers = [each.lower for each in certificate.history] + [certificate.lower]
    shown = [value if math.isfinite(value) else math.nan for value in uppers]
    axes.step(times, shown, where="post", label=f"upper {certificate.upper:.5g}")
    axes.step(times, lowers, where="post", label=f"lower {certificate.lower:.5g}")
    axes.fill_between(times, lowers, shown, step="post", alpha=0.12)
    if all(value > 0 for value in lowers if math.isfinite(value)) and certificate.gap > 2:
        axes.set_yscale("log")
    axes.set_xlabel("seconds of search")
    norms = certificate.norms
    axes.set_ylabel(f"Lipschitz constant, {norms['input']} to {norms['output']}")
    axes.set_title(f"{certificate.model.name}: {certificate.method or 'no bound'}", loc="left")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)
