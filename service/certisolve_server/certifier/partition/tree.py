"""The tree of cuts as text, and the bound that it proves.

Level by level from the root, one character for each box in order: `.` for a box that is bounded as
it is, and for others the code of what is done to it, from `0` on: 3 k for a cut in two along input
k, 3 k + 1 and 3 k + 2 for the box in whose place its lower or upper face along k is looked at.
Where a cut lies follows from the box, so that the text alone tells all boxes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from certisolve_server.certifier.errors import NotCertified

from .bounding import Bounding, middles

_FIRST = ord("0")
LEAF = ord(".") - _FIRST

#: Their codes are characters of ASCII.
MAX_INPUTS = 24

_MAX_LEVELS = 4096


def encode(levels: Sequence[Tensor]) -> list[str]:
    """The codes of boxes, level by level, as text."""
    return ["".join(chr(_FIRST + code) for code in level.tolist()) for level in levels]


def decode(level: str, inputs: int) -> Tensor:
    """The codes of one level.

    Raises:
        NotCertified: one is none.
    """
    codes = torch.tensor([ord(char) - _FIRST for char in level])
    is_code = (codes == LEAF) | ((codes >= 0) & (codes < 3 * inputs))
    if not bool(is_code.all()):
        raise NotCertified("a code of the tree is none")
    return codes


def children(lower: Tensor, upper: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes of the next level, in order: both halves of what is cut, and faces."""
    inner = codes >= 0
    lower, upper, codes = lower[inner], upper[inner], codes[inner]
    is_cut = codes % 3 == 0
    counts = torch.where(is_cut, 2, 1)
    parent = torch.arange(len(codes)).repeat_interleave(counts)
    second = torch.zeros(len(parent), dtype=torch.bool)
    second[1:] = parent[1:] == parent[:-1]
    below, above = lower[parent].clone(), upper[parent].clone()
    rows, axis, kind = torch.arange(len(parent)), (codes // 3)[parent], (codes % 3)[parent]
    middle = middles(lower, upper)[parent, axis]
    # Both halves hold the cut, so nothing is lost between them.
    low, high = below[rows, axis], above[rows, axis]
    new_high = torch.where(kind == 0, torch.where(second, high, middle), high)
    new_low = torch.where(kind == 0, torch.where(second, middle, low), low)
    above[rows, axis] = torch.where(kind == 1, low, new_high)
    below[rows, axis] = torch.where(kind == 2, high, new_low)
    return below, above


def recheck(bounding: Bounding, levels: Sequence[str]) -> float:
    """The bound that a tree proves: the largest of its leaves and of what faces leave out.

    Raises:
        NotCertified: it is no tree, or a face does not stand for its box.
    """
    lower, upper = (end.unsqueeze(0) for end in bounding.whole)
    largest = 0.0
    if len(levels) > _MAX_LEVELS:
        raise NotCertified("the tree is too deep")
    for level in levels:
        codes = decode(level, lower.shape[1])
        if len(codes) != len(lower):
            raise NotCertified("a level of the tree has not as many boxes as are cut above it")
        largest = max(largest, _proven(_of_level(bounding, lower, upper, codes)))
        lower, upper = children(lower, upper, codes)
    if len(lower):
        raise NotCertified("the tree ends before its boxes do")
    return largest


def _of_level(bounding: Bounding, lower: Tensor, upper: Tensor, codes: Tensor) -> float:
    kind = codes % 3
    is_leaf, is_face = codes == LEAF, (codes >= 0) & (kind > 0)
    face = 2 * (codes // 3) + kind - 1
    bounds = [0.0]
    for start in range(0, len(codes), bounding.batch):
        part = slice(start, start + bounding.batch)
        low, high, leaf, flat = lower[part], upper[part], is_leaf[part], is_face[part]
        if bool(leaf.any()):
            bounds.append(float(bounding.bound(low[leaf], high[leaf]).upper.amax()))
        if bool(flat.any()):
            rest = bounding.beyond_faces(low[flat], high[flat], face[part][flat])
            bounds.append(float(rest.amax()))
    # Not `max`, which may pass over NaN.
    return float(torch.tensor(bounds, dtype=torch.float64).amax())


def _proven(bound: float) -> float:
    # False of NaN.
    if not 0.0 <= bound < float("inf"):
        raise NotCertified("there is no bound on some box of the tree")
    return bound
