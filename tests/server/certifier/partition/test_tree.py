"""Trees as text: what is written is read, and the boxes of a tree cover the box at its root."""

import pytest
import torch

from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.partition import Outside, Search, recheck
from certisolve_server.certifier.partition.bounding import Parts, middles
from certisolve_server.certifier.partition.tree import LEAF, children, decode, encode
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.region import Ball, Box
from small_networks import Applied, exported


class Distance:
    """Bounds boxes by their largest entry and their widths; boxes of NaN by NaN."""

    batch = 4

    def __init__(self, inputs=2, wrong=False):
        zero = torch.zeros(inputs, dtype=torch.float64)
        self.whole, self.wrong = (zero, zero + 1.0), wrong

    def bound(self, lower, upper):
        bounds = upper.sum(1) + (upper - lower).sum(1)
        if self.wrong:
            bounds = torch.where(lower[:, 0] > 0.4, torch.nan, bounds)
        count, zero = len(lower), torch.zeros_like(bounds)
        face = torch.full((count,), 1)
        return Parts(bounds, upper.sum(1) - 0.1, upper - lower, face, zero)

    def jacobian(self, point):
        return torch.zeros(1, len(point))

    def beyond_faces(self, lower, upper, face):
        return torch.where(face == 1, 0.0, torch.inf)


def test_a_search_ends_at_the_bound_that_its_tree_proves():
    bounding = Distance()
    search = Search(bounding, (NotCertified,))
    for _ in range(20):
        search.advance(0.0)
    assert 2.0 <= search.bound <= 2.2
    assert recheck(bounding, search.levels()) == search.bound


def test_codes_are_read_as_they_are_written():
    levels = [torch.tensor([0]), torch.tensor([LEAF, 5]), torch.tensor([71])]
    text = encode(levels)
    assert text[:2] == ["0", ".5"]
    assert [decode(each, 24).tolist() for each in text] == [each.tolist() for each in levels]
    for wrong in ("~", " ", "/"):
        with pytest.raises(NotCertified):
            decode(wrong, 2)


def test_halves_cover_their_box_and_faces_are_flat():
    lower = torch.tensor([[0.0, 0.0], [1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    upper = torch.tensor([[1.0, 2.0], [3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    low, high = children(lower, upper, torch.tensor([3, 1, 5]))
    assert low.tolist() == [[0.0, 0.0], [0.0, 1.0], [1.0, -1.0], [0.0, 1.0]]
    assert high.tolist() == [[1.0, 1.0], [1.0, 2.0], [1.0, 1.0], [1.0, 1.0]]


def test_endless_sides_are_cut_at_growing_numbers():
    inf = torch.inf
    lower = torch.tensor([-inf, 0.0, 3.0, -inf, -inf], dtype=torch.float64)
    upper = torch.tensor([inf, inf, inf, -3.0, 0.0], dtype=torch.float64)
    assert middles(lower, upper).tolist() == [0.0, 1.0, 7.0, -7.0, -1.0]


@pytest.mark.parametrize(
    "levels",
    [
        [],
        ["0"],
        ["0", "."],
        ["0", "..."],
        ["0", "..", "."],
        ["9", ".."],
        ["1", "."],
        ["5", "."],
    ],
)
def test_what_is_no_tree_proves_nothing(levels):
    with pytest.raises(NotCertified):
        recheck(Distance(), levels)


def test_a_leaf_without_a_number_proves_nothing():
    assert recheck(Distance(), ["0", ".."]) < torch.inf
    with pytest.raises(NotCertified):
        recheck(Distance(wrong=True), ["0", ".."])


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_no_point_of_a_ball_is_left_out(norm):
    graph = prepare(exported(Applied(torch.sin), (1, 3)), {"x": (1, 3)})
    ball = Ball({"x": torch.full((1, 3), 0.3, dtype=torch.float64)}, 1.25, norm)
    outside = Outside(ball, graph)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    length = directions.norm(1 if norm == "l1" else 2, dim=1, keepdim=True)
    points = 0.3 + 1.25 * (1 - 1e-12) * directions / length
    widths = torch.rand(500, 3, generator=generator, dtype=torch.float64) * 0.1
    assert not bool(outside(points - widths, points).any())
    assert not bool(outside(points, points + widths).any())
    beyond = 0.3 + 1.2501 * directions / length
    assert bool(outside(beyond, beyond).all())


def test_of_a_box_nothing_is_outside():
    graph = prepare(exported(Applied(torch.sin), (1, 3)), {"x": (1, 3)})
    corner = torch.zeros(1, 3, dtype=torch.float64)
    outside = Outside(Box({"x": corner}, {"x": corner + 1}), graph)
    assert not bool(outside(corner + 5, corner + 6).any())
    assert not outside.is_curved
