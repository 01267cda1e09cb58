"""Errors of answers, and how much an answer depends on its batch."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["rel_l2", "rmse"]
#: All outputs of a model for a batch of inputs.
Answer = Callable[[Sequence[Tensor]], Sequence[Tensor]]
BATCH_SIZES = (2, 3, 8)


def relative_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """|prediction - target|_2 / |target|_2 of each sample; shapes (sample, ...) to (sample,)."""
    difference = torch.linalg.vector_norm((prediction - target).flatten(1), dim=1)
    return torch.div(difference, torch.linalg.vector_norm(target.flatten(1), dim=1))


def sample_errors(prediction: Tensor, target: Tensor, metric: Metric) -> Tensor:
    """The error of each sample, in the metric of the manifest; (sample, ...) to (sample,)."""
    if metric == "rel_l2":
        return relative_l2(prediction, target)
    return (prediction - target).flatten(1).square().mean(dim=1).sqrt()


def batch_deviation(
    answer: Answer,
    examples: Sequence[Sequence[Tensor]],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    yardsticks: Sequence[int] | None = None,
) -> float:
    """Largest relative L2 difference between an answer alone and in batches.

    Args:
        answer: of the model.
        examples: inputs with a batch as large as the largest, one entry per resolution.
        batch_sizes: to compare with; 0.0 is returned for none.
        yardsticks: per output, index of the one whose size its differences are compared with, see
            `Manifest.yardstick`; None for each its own.
    """
    return max(_deviation(answer, inputs, batch_sizes, yardsticks) for inputs in examples)


def deviation(actual: Tensor, expected: Tensor, yardstick: Tensor | None = None) -> float:
    """Largest L2 difference over the samples, relative to the expected one's size or another's.

    Absolute where nothing is expected.
    """
    difference = torch.linalg.vector_norm((actual - expected).flatten(1), dim=1)
    size = expected if yardstick is None else yardstick
    scale = torch.linalg.vector_norm(size.flatten(1), dim=1)
    return float((difference / torch.where(scale > 0, scale, 1.0)).max())


def _deviation(
    answer: Answer,
    inputs: Sequence[Tensor],
    batch_sizes: Sequence[int],
    yardsticks: Sequence[int] | None,
) -> float:
    largest = max(batch_sizes, default=0)
    alone = [answer([tensor[i : i + 1] for tensor in inputs]) for i in range(largest)]
    worst = 0.0
    for size in batch_sizes:
        together = answer([tensor[:size] for tensor in inputs])
        expected = [torch.cat(singles[:size]) for singles in zip(*alone, strict=True)]
        for index, output in enumerate(together):
            scale = expected[yardsticks[index] if yardsticks else index]
            worst = max(worst, deviation(output, expected[index], scale))
    return worst
