"""How sharp are global bounds of chains, and what do they cost? One table.

Single-threaded: `python benchmarks/chains.py [seconds for each search]`. By norms alone, by the
multipliers of ECLipsE-Fast, and what the search proved within the budget, with the time until its
last bound and until the first one within a percent of that. Networks are random, by seed; those
named after ECLipsE are drawn as in its paper (4 inputs, one output, norms of weights uniform in
[.4, 1.8], numpy seed 7 width + 13 depth).
"""

import itertools
import sys
import time

import numpy as np
import torch

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.chains import (
    Chain,
    Folding,
    Slopes,
    UnverifiedMultipliers,
    improving,
    spectral_chain,
    verified_bound,
)
from certisolve_server.certifier.chains.eclipse import multipliers, one_for_all
from certisolve_server.certifier.chains.norms import product_bound
from certisolve_server.certifier.functions.registry import find
from certisolve_server.certifier.operators import Spectral


def main() -> None:
    """Prints the table, line by line."""
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    torch.set_num_threads(1)
    # Libraries are slow when they are first called.
    report("", perceptron((4, 4, 1)), 1.0, show=False)
    print("| network | product | ECLipsE-Fast | ours | proven by | within 1 % after s | seconds |")
    print("|---|---|---|---|---|---|---|")
    for depth, width in ((5, 40), (20, 60), (50, 100)):
        report(f"ECLipsE, depth {depth}, width {width}", eclipse(depth, width), budget_s)
    report("perceptron 784-256-10", perceptron((784, 256, 10)), budget_s)
    for width, depth in ((32, 2), (64, 2), (32, 5), (64, 5), (32, 8), (128, 18)):
        report(f"MaxMin, {depth} layers of {width}", sorting(width, depth), budget_s)
    report("residual, 8 blocks of 32 with 64 neurons", residual(32, 64, 8), budget_s)
    for width, kept, depth in ((8, 8, 2), (16, 12, 4)):
        name = f"FNO, {width} channels, {kept} modes, {depth} layers"
        report(name, neural_operator(width, kept, depth), budget_s)


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


def eclipse(depth: int, width: int) -> Chain:
    """With rectifiers between."""
    numbers = np.random.RandomState(7 * width + 13 * depth)
    maps = []
    for inputs, outputs in itertools.pairwise([4] + [width] * (depth - 1) + [1]):
        norm = numbers.uniform(0.4, 1.8)
        weight = torch.from_numpy(numbers.randn(outputs, inputs))
        maps.append(weight * (norm / torch.linalg.matrix_norm(weight, 2)))
    return Chain.of(maps, [Slopes.of(find("relu"), width)] * (depth - 1))


def perceptron(sizes: tuple[int, ...]) -> Chain:
    """With rectifiers between, and no training."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(b, a, generator=generator) / a**0.5 for a, b in itertools.pairwise(sizes)]
    return Chain.of(maps, [Slopes.of(find("relu"), size) for size in sizes[1:-1]])


def sorting(width: int, depth: int) -> Chain:
    """From two numbers to two, with sorted pairs between."""
    generator = torch.Generator().manual_seed(0)
    sizes = itertools.pairwise([2] + [width] * depth + [2])
    maps = [torch.randn(b, a, generator=generator) / a**0.5 for a, b in sizes]
    return Chain.of(maps, [Folding.group_sort(width, 2)] * depth)


def residual(width: int, neurons: int, depth: int) -> Chain:
    """Blocks x + G f(A x) with rectifiers."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(neurons, width, generator=generator) / width**0.5 for _ in range(depth)]
    mixes = [torch.randn(width, neurons, generator=generator) / neurons for _ in range(depth)]
    last = torch.randn(1, width, generator=generator) / width**0.5
    slopes = [Slopes.of(find("relu"), neurons)] * depth
    return Chain.of([*maps, last], slopes, [torch.eye(width)] * depth, mixes)


def neural_operator(width: int, kept: int, depth: int) -> Chain:
    """On 64 points, as on any number of them above 2 kept; from one channel to one."""
    generator = torch.Generator().manual_seed(0)
    layers = []
    for _ in range(depth):
        weights = torch.randn(kept, width, width, generator=generator, dtype=torch.complex64)
        pointwise = torch.randn(width, width, generator=generator) / width**0.5
        layer = Spectral.of_weights(weights / width**0.5, [(k,) for k in range(kept)], (64,))
        layers.append(layer.plus_pointwise(Interval.exact(pointwise)))
    layers[0] = layers[0].after_pointwise(
        Interval.exact(torch.randn(width, 1, generator=generator))
    )
    last = Interval.exact(torch.randn(1, width, generator=generator) / width**0.5)
    return spectral_chain(layers, [Slopes.of(find("gelu_erf"), width)] * depth, last)


if __name__ == "__main__":
    main()
