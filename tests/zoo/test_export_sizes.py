"""Programs take every size their model allows, and no other."""

from dataclasses import replace

import pytest
import torch

from certisolve.manifest import Axis, TensorSpec
from certisolve_export.archive import save_torch_export
from certisolve_server.artifacts import check_pt2
from certisolve_zoo.export import export_program
from certisolve_zoo.operators.unet import Unet2d
from certisolve_zoo.specs.darcy2d_fno import SPEC as DARCY


@pytest.fixture(scope="module")
def spec():
    """Two channels in, one out, on grids whose sizes are multiples of four."""
    axes = ("y", "x", "history")
    field = TensorSpec(name="frames", dtype="F32", axes=axes, description="the last two frames")
    grid = Axis(kind="grid", lower=0.0, upper=1.0, convention="periodic", boundary="periodic")
    return replace(
        DARCY,
        axes={"y": grid, "x": grid, "history": Axis(kind="channel", size=2)},
        inputs=(field,),
        grid_limits=(8, 64),
        grid_multiple=4,
        max_batch_size=16,
    )


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Unet2d(channels_in=2, channels_out=1, width=4, num_levels=3).eval()


@pytest.fixture(scope="module")
def archive(spec, network, tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "program.pt2"
    save_torch_export(export_program(network, spec, (torch.rand(2, 16, 24, 2),)), path)
    return path


@pytest.mark.parametrize("shape", [(1, 8, 8, 2), (3, 12, 64, 2), (16, 20, 16, 2)])
def test_every_multiple_and_batch_within_the_limits_is_computed(network, archive, shape):
    frames = torch.rand(shape)
    program = torch.export.load(archive).module()
    torch.testing.assert_close(program(frames), network(frames), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(17, 8, 8, 2), (1, 8, 8, 3)], ids=["batch", "channel"])
def test_a_batch_too_large_and_another_channel_count_are_refused(archive, shape):
    # Grid sizes are the manifest's to refuse: their range is not in the archive.
    program = torch.export.load(archive).module()
    with pytest.raises((AssertionError, RuntimeError)):
        program(torch.rand(shape))


def test_sizes_that_are_multiples_leave_nothing_in_the_archive_that_a_server_refuses(archive):
    check_pt2(archive)
