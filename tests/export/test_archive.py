"""Program files hold raw numbers and graphs, and no more than servers read."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from certisolve_export import NotTraceable, PickledPayload, ProgramTooLarge
from certisolve_export.archive import save_onnx, save_torch_export
from certisolve_export.tracing import trace
from certisolve_server.artifacts import UnsafeProgram, check_pt2

pytestmark = pytest.mark.filterwarnings(
    # torch's own decompositions ask for LeafSpec, which its pytree module deprecates.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


class Marked(torch.Tensor):
    """A tensor with a class of its own, which only a pickle could keep."""


@pytest.fixture
def program():
    network, u = nn.Linear(4, 4).eval(), torch.rand(2, 4)
    return trace(network, [u], [("batch", "x")], {"batch": Dim.DYNAMIC(min=1, max=8)})


def test_a_weight_that_only_a_pickle_could_keep_is_refused_and_named(program, tmp_path):
    marked = program.state_dict["weight"].detach().as_subclass(Marked)
    program.state_dict["weight"] = nn.Parameter(marked, requires_grad=False)
    path = tmp_path / "program.pt2"
    with pytest.raises(PickledPayload, match="weight can only be stored as a pickle"):
        save_torch_export(program, path)
    with pytest.raises(UnsafeProgram):
        check_pt2(path)


def test_a_graph_larger_than_servers_read_is_refused(program, tmp_path):
    with pytest.raises(ProgramTooLarge, match=r"servers read 100; .*fewer steps"):
        save_torch_export(program, tmp_path / "program.pt2", max_graph_bytes=100)


def test_weights_that_one_onnx_file_cannot_hold_are_refused(program, tmp_path):
    path = tmp_path / "program.onnx"
    with pytest.raises(ProgramTooLarge, match="weights of 80 bytes"):
        save_onnx(program, path, max_bytes=79)
    assert not path.exists()
    save_onnx(program, path, ["u0"], ["u"], max_bytes=80)
    assert path.exists()


def test_an_operator_that_onnx_does_not_have_is_said(tmp_path):
    class Determinant(nn.Module):
        def forward(self, u):
            return torch.linalg.slogdet(u)[1]

    matrix = torch.eye(3).expand(2, 3, 3).clone()
    program = trace(Determinant(), [matrix], [("batch", "i", "j")], {"batch": Dim.DYNAMIC})
    with pytest.raises(NotTraceable, match=r"ONNX: .*slogdet"):
        save_onnx(program, tmp_path / "program.onnx")
