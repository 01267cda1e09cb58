"""How sharp are global bounds of Fourier layers? One table, from norms down to an attack.

Random networks of GELU layers, one channel to one. Between what is proven and the steepest that an
attack saw stand two bounds from below: of all that multipliers of channels can prove, and of all
that can be proven by who knows of GELU its slopes alone.

    python benchmarks/fourier.py [--seconds 20] [--write]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import certify_networks as networks
import torch
from certify import best, torch_program
from network_chains import spectral_chain_of, spectral_parts
from publish import write_section
from report import markdown, table
from rich.console import Console
from rich.progress import track
from sdp import floor

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import Slopes
from certisolve_server.certifier.chains.norms import liplt_bound, product_bound
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.operators import Spectral
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Everything

HEADINGS = (
    "channels, modes, layers",
    "product of norms",
    "fused product",
    "LipLT",
    "proven",
    "multipliers prove no less than",
    "independent slopes attain",
    "attack",
)

#: Channels, modes, layers, and the product of norms of the network that figures of others are of.
SIZES = ((4, 6, 2, 27.4), (8, 8, 2, 26.7), (8, 8, 4, 253.0), (16, 12, 4, 500.0))
POINTS = 64

_PAGE = Path(__file__).parents[1] / "docs" / "certificates-of-fourier-layers.md"

#: Of the search for slopes: from how many points at once, and how often.
_STARTS, _SWEEPS = 16, 150


def main() -> None:
    """Bounds, prints, and writes where asked to: no column is a time."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    sizes = track(SIZES, "certifying", console=Console(stderr=True))
    rows = [row(*size, arguments.seconds) for size in sizes]
    console.print(table(HEADINGS, rows))
    if arguments.write:
        write_section("fourier", markdown(HEADINGS, rows), _PAGE)


def row(width: int, num_modes: int, depth: int, product: float, seconds: float) -> tuple[str, ...]:
    """One network."""
    net = networks.gaussian_fno(width, num_modes, depth, product)
    layers, last = spectral_parts(net, POINTS)
    chain = spectral_chain_of(net, POINTS)
    graph = prepare(torch_program(net, (1, POINTS)), {"x": (1, POINTS)})
    answer = best(Problem(graph, Everything(), Norms("l2", "l2")), seconds)
    numbers = (
        product,
        float(product_bound(chain)),
        float(liplt_bound(chain)),
        answer.upper,
        floor(chain),
        independent(layers, last),
        answer.lower,
    )
    return (f"{width}, {num_modes}, {depth}", *(f"{number:.4g}" for number in numbers))


def independent(layers: Sequence[Spectral], last: Interval) -> float:
    """The largest gain found where each slope of GELU, at each point, may be any that it has.

    The gain is linear in the slopes of a layer, so all of a layer are chosen at once, at an end of
    their range; then the next layer, and the input, and again.
    """
    maps = [layer.matrix().midpoint_radius()[0] for layer in layers]
    maps.append(torch.kron(last.lower, torch.eye(POINTS, dtype=torch.float64)))
    slopes = Slopes.of(find("gelu_erf"), 1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(maps[0].shape[1], _STARTS, generator=generator, dtype=torch.float64)
    chosen = [torch.rand(len(a), _STARTS, generator=generator, dtype=torch.float64) for a in maps]
    gain = torch.zeros(())
    for _ in range(_SWEEPS):
        values, h = [], x / x.norm(dim=0)
        for a, own in zip(maps[:-1], chosen, strict=False):
            values.append(a @ h)
            h = own * values[-1]
        back = maps[-1] @ h
        gain = back.norm(dim=0)
        for k in reversed(range(len(values))):
            back = maps[k + 1].mT @ back
            chosen[k] = torch.where(back * values[k] > 0, slopes.most, slopes.least)
            back = chosen[k] * back
        x = maps[0].mT @ back
    return float(gain.max())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for bound and attack")
    parser.add_argument("--write", action="store_true", help=f"into {_PAGE.name}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
