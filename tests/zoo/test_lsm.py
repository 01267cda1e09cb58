import torch

from certisolve_zoo.operators.lsm import SpectralBlock


def _block(**changes):
    arguments = {"channels": 8, "patch": 4, "num_tokens": 3, "num_heads": 2, "num_bases": 4}
    return SpectralBlock(**(arguments | changes)).double()


def test_patches_are_squares_of_the_grid_and_join_to_it_again():
    block, v = _block(), torch.randn(2, 8, 12, 8).double()
    patches = block._cut(v)
    assert patches.shape == (2 * 3 * 2, 16, 8)
    expected = v[1, :, 4:8, 0:4].permute(1, 2, 0).flatten(0, 1)
    torch.testing.assert_close(patches[6 + 2], expected, rtol=0, atol=0)
    torch.testing.assert_close(block._join(patches, v), v, rtol=0, atol=0)


def test_a_patch_does_not_see_the_others():
    block, v = _block(), torch.randn(1, 8, 8, 8).double()
    changed = v.clone()
    changed[..., 4:, 4:] += 1.0
    difference = (block(changed) - block(v)).abs()
    assert float(difference[..., :4, :].detach().max()) == 0.0
    assert float(difference[..., :4].detach().max()) == 0.0
    assert float(difference[..., 4:, 4:].detach().min()) > 0.0


def test_tokens_pass_through_the_trigonometric_series():
    series = _block(num_bases=2).series
    with torch.no_grad():
        series.constant.fill_(0.5)
        series.sines.copy_(torch.tensor([1.0, -2.0]))
        series.cosines.copy_(torch.tensor([3.0, 0.25]))
    t = torch.randn(5, 2, 3, 4).double()
    expected = t + 0.5 + t.sin() - 2 * (2 * t).sin() + 3 * t.cos() + 0.25 * (2 * t).cos()
    torch.testing.assert_close(series(t), expected, rtol=0, atol=1e-12)
