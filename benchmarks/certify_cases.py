"""What certify.py asks: networks, sets and norms, and what each answer is measured by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import certify_networks as networks
import torch
from network_chains import chain_of, spectral_chain_of
from sdp import floor, lipsdp, sorted_pairs
from torch import nn

from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.region import Ball, Everything, Region

DIGITS = range(3)
SMOOTH = (("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid), ("SiLU", nn.SiLU), ("GELU", nn.GELU))

#: By how much bounds may exceed the least one that a solver finds.
AS_A_SOLVER = 1.001


@dataclass(frozen=True)
class Target:
    """What is to be reached.

    Args:
        words: for the table.
        is_met: of an upper and a lower bound.
        seconds: within which time.
        budget_s: for how long to search, to see when it is met; None for `seconds`.
    """

    words: str
    is_met: Callable[[float, float], bool]
    seconds: float
    budget_s: float | None = None


@dataclass(frozen=True)
class Standard:
    """What a row is measured by: figures of others, published or computed here, and the target."""

    anchor: str
    target: Target


#: Of a network, computed in the run of the row.
Judge: TypeAlias = Callable[[nn.Module], Standard]


@dataclass(frozen=True)
class Case:
    """One row: a network, a set, norms, and what is known of it."""

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    where: str
    region: Callable[[], Region]
    norms: Norms
    standard: Judge


def cases() -> Iterator[Case]:
    """All rows."""
    everywhere = partial(Case, where="everything, l2", region=Everything, norms=Norms("l2", "l2"))
    for name, hidden in (("64-32-10", (32,)), ("64-32-32-10", (32, 32))):
        yield everywhere(
            name=f"digits {name}",
            network=partial(networks.digits_perceptron, *hidden),
            shape=(1, 64),
            standard=_as_a_solver,
        )
    for name, hidden, limits in (
        ("64-32-10", (32,), ((0.05, 1.01), (0.2, 1.01), (0.5, 1.01))),
        ("64-32-32-10", (32, 32), ((0.05, 1.05), (0.2, 1.25), (0.5, 1.6))),
    ):
        for radius, limit in limits:
            yield from _digits_boxes(name, hidden, radius, limit)
    yield everywhere(
        name="digits, 2 convolutions",
        network=networks.digits_convolution,
        shape=(1, 64),
        standard=_convolutions,
    )
    yield from _smooth()
    for depth, width in ((2, 32), (5, 32), (8, 32), (3, 64), (5, 64)):
        yield everywhere(
            name=f"MaxMin, {depth} layers of {width}",
            network=partial(networks.maxmin, depth, width),
            shape=(1, 10),
            standard=_ahead_of_a_solver,
        )
    # What is wanted first, and what is wanted then.
    for limit, seconds in ((26.0, 5.0), (15.0, 30.0)):
        yield everywhere(
            name="FNO, 16 channels, 12 modes, 4 layers",
            network=partial(networks.gaussian_fno, 16, 12, 4, 500.0),
            shape=(1, 64),
            standard=partial(_fourier, target=below(limit, seconds)),
        )
    for seed in range(2):
        yield everywhere(
            name=f"sandwich layers, gamma 10, seed {seed}",
            network=partial(networks.sandwiches, (8, 32, 32, 32, 4), 10.0, seed),
            shape=(1, 8),
            standard=published("10 by construction", below(10.0 * (1 + 1e-6), 10.0)),
        )
    yield everywhere(
        name="ECLipsE, depth 50, width 100",
        network=partial(networks.eclipse, 50, 100),
        shape=(1, 4),
        standard=published("ECLipsE-Fast 1.33e-6", below(8e-7, 10.0)),
    )
    yield everywhere(
        name="perceptron 784-256-10",
        network=networks.wide_perceptron,
        shape=(1, 784),
        standard=_wide,
    )


def _digits_boxes(
    name: str, hidden: tuple[int, ...], radius: float, limit: float
) -> Iterator[Case]:
    anchors = {0.05: "1.275", 0.2: "2.196", 0.5: "2.926"}
    for image in DIGITS:
        yield Case(
            name=f"digits {name}, image {image}",
            network=partial(networks.digits_perceptron, *hidden),
            shape=(1, 64),
            where=f"box of {radius}, linf",
            region=partial(_around_digit, image, radius),
            norms=Norms("linf", "linf"),
            standard=published(
                f"auto_LiRPA {anchors[radius]}" if len(hidden) > 1 else "", ratio(limit, 10.0)
            ),
        )


def _smooth() -> Iterator[Case]:
    anchors = {
        ("tanh", 0.5): "2.94",
        ("tanh", 2.0): "5.32",
        ("sigmoid", 0.5): "1.22",
        ("sigmoid", 2.0): "2.28",
        ("SiLU", 0.5): "4.52",
        ("SiLU", 2.0): "140.7",
    }
    for name, activation in SMOOTH:
        for radius, limit in ((0.5, 1.1), (2.0, 1.3)):
            known = anchors.get((name, radius))
            yield Case(
                name=f"3-6-6-2, {name}",
                network=partial(networks.smooth_perceptron, activation, 0),
                shape=(1, 3),
                where=f"box of {radius}, linf",
                region=partial(_around_zero, 3, radius),
                norms=Norms("linf", "linf"),
                standard=published(f"auto_LiRPA {known}" if known else "", ratio(limit, 0.5)),
            )


def _as_a_solver(net: nn.Module) -> Standard:
    least = lipsdp(chain_of(net, 64))
    target = Target(
        f"<= {AS_A_SOLVER:g} LipSDP and upper / lower <= 1.06 in 2 s",
        lambda upper, lower: upper <= min(AS_A_SOLVER * least, 1.06 * lower),
        2.0,
    )
    return Standard(f"LipSDP {least:#.5g} by Clarabel", target)


def _ahead_of_a_solver(net: nn.Module) -> Standard:
    """A fifth of the solver's time."""
    least = sorted_pairs(chain_of(net, 10))
    target = Target(
        f"<= {AS_A_SOLVER:g} LipSDP in {least.seconds / 5:.2f} s",
        lambda upper, _lower: upper <= AS_A_SOLVER * least.value,
        least.seconds / 5,
        budget_s=10.0,
    )
    words = f"LipSDP for MaxMin {least.value:#.5g}, Clarabel {least.seconds:.2f} s"
    return Standard(words, target)


def _convolutions(net: nn.Module) -> Standard:
    return Standard(f"LipSDP >= {floor(chain_of(net, 64)):.5g} by its dual", ratio(1.25, 10.0))


def _fourier(net: nn.Module, target: Target) -> Standard:
    assert isinstance(net, networks.GaussianFno)
    words = (
        "product of norms 500, bound 25.7, attack 1.73 on other weights; "
        f"LipSDP by frequency >= {floor(spectral_chain_of(net, 64)):.5g} by its dual"
    )
    return Standard(words, target)


def _wide(net: nn.Module) -> Standard:
    """Below 1.005 of what LipSDP is at least, so within half a percent of it."""
    least = floor(chain_of(net, 784))
    target = Target(
        "<= 1.005 LipSDP in 5 s", lambda upper, _lower: upper <= 1.005 * least, seconds=5.0
    )
    words = f"LipSDP >= {least:.5g} by its dual; LipDiff took 9.8 s on a GPU, LipSDP 47 s"
    return Standard(words, target)


def published(anchor: str, target: Target) -> Judge:
    """Whatever the network is."""
    return lambda _net: Standard(anchor, target)


def ratio(limit: float, seconds: float) -> Target:
    """Upper by lower at most `limit`."""
    words = f"upper / lower <= {limit:g} in {seconds:g} s"
    return Target(words, lambda upper, lower: upper <= limit * lower, seconds)


def below(limit: float, seconds: float) -> Target:
    """Upper at most `limit`."""
    return Target(f"<= {limit:.8g} in {seconds:g} s", lambda upper, _lower: upper <= limit, seconds)


def _around_digit(image: int, radius: float) -> Region:
    pixels = networks.digits()[0][image : image + 1].double()
    return Ball({"x": pixels}, radius, "linf")


def _around_zero(entries: int, radius: float) -> Region:
    return Ball({"x": torch.zeros(1, entries, dtype=torch.float64)}, radius, "linf")
