"""How sharp are global bounds of chains, and what do they cost? One table.

Single-threaded: `python benchmarks/chains.py [seconds for each search]`. By norms alone, by the
multipliers of ECLipsE-Fast, and what the search proved within the budget, with the time until its
last bound and until the first one within a percent of that. Networks are random, by seed, and those
of certify.py where they have the same name. Fourier layers have a table of their own: fourier.py.
"""

import sys
import time

import certify_networks as networks
import torch
from network_chains import chain_of
from torch import nn

from certisolve_server.certifier.chains import (
    Chain,
    Slopes,
    UnverifiedMultipliers,
    improving,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import multipliers, one_for_all
from certisolve_server.certifier.chains.norms import product_bound
from certisolve_server.certifier.functions.registry import find


def main() -> None:
    """Prints the table, line by line."""
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    torch.set_num_threads(1)
    # Libraries are slow when they are first called.
    report("", chain_of(networks.perceptron((4, 4, 1), nn.ReLU), 4), 1.0, show=False)
    print("| network | product | ECLipsE-Fast | ours | proven by | within 1 % after s | seconds |")
    print("|---|---|---|---|---|---|---|")
    for depth, width in ((5, 40), (20, 60), (50, 100)):
        net = networks.eclipse(depth, width)
        report(f"ECLipsE, depth {depth}, width {width}", chain_of(net, 4), budget_s)
    report("perceptron 784-256-10", chain_of(networks.wide_perceptron(), 784), budget_s)
    for depth, width in ((2, 32), (3, 64), (5, 32), (5, 64), (8, 32), (18, 128)):
        net = networks.maxmin(depth, width)
        report(f"MaxMin, {depth} layers of {width}", chain_of(net, 10), budget_s)
    report("residual, 8 blocks of 32 with 64 neurons", residual(32, 64, 8), budget_s)


def report(name: str, chain: Chain, budget_s: float, *, show: bool = True) -> None:
    """Prints one line."""
    try:
        fast = f"{verified_bound(chain, multipliers(chain, one_for_all)):.4g}"
    except UnverifiedMultipliers:
        fast = "-"
    start, proven = time.perf_counter(), []
    for found in improving(chain):
        took = time.perf_counter() - start
        if found is not None:
            proven.append((took, found))
        if took > budget_s:
            break
    last, best = proven[-1]
    near = next(after for after, found in proven if found.upper <= 1.01 * best.upper)
    product = float(product_bound(chain))
    if show:
        columns = (name, f"{product:.4g}", fast, f"{best.upper:.4g}", best.method)
        print("| " + " | ".join(columns) + f" | {near:.2f} | {last:.2f} |", flush=True)


def residual(width: int, neurons: int, depth: int) -> Chain:
    """Blocks x + G f(A x) with rectifiers."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(neurons, width, generator=generator) / width**0.5 for _ in range(depth)]
    mixes = [torch.randn(width, neurons, generator=generator) / neurons for _ in range(depth)]
    last = torch.randn(1, width, generator=generator) / width**0.5
    slopes = [Slopes.of(find("relu"), neurons)] * depth
    return Chain.of([*maps, last], slopes, [torch.eye(width)] * depth, mixes)


if __name__ == "__main__":
    main()
