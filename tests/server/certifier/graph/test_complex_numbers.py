"""Programs with complex numbers are certified as real ones, and transforms as their matrices."""

import pytest
import torch
from torch import Tensor, nn

from certisolve_server.certifier.domain import box, values
from certisolve_server.certifier.interpreter import interpret
from certisolve_server.certifier.methods.fourier import Fourier
from certisolve_server.certifier.methods.method import Board
from certisolve_server.certifier.norms import Norms
from certisolve_server.certifier.prepare import prepare
from certisolve_server.certifier.problem import Problem
from certisolve_server.certifier.region import Everything
from certisolve_server.certifier.spectral_layers import recognise
from small_networks import Applied, exported


def weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.complex64)


class Layer1d(nn.Module):
    """As in the code of Li et al.: transforms, a block of modes, zeros for the rest."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weights = nn.Parameter(weights(channels, channels, modes))
        self.pointwise = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        out = torch.zeros(*x.shape[:2], x.shape[2] // 2 + 1, dtype=torch.cfloat)
        kept = spectrum[:, :, : self.modes]
        out[:, :, : self.modes] = torch.einsum("bix,iox->box", kept, self.weights)
        return torch.fft.irfft(out, n=x.shape[-1]) + self.pointwise(x)


class Layer2d(nn.Module):
    """Positive and negative frequencies of the first axis as two blocks."""

    def __init__(self, channels: int, modes: int, norm: str) -> None:
        super().__init__()
        self.modes, self.norm = modes, norm
        self.weights = nn.Parameter(weights(2, channels, channels, modes, modes))

    def forward(self, x: Tensor) -> Tensor:
        m = self.modes
        spectrum = torch.fft.rfft2(x, norm=self.norm)
        out = torch.zeros(*x.shape[:3], x.shape[3] // 2 + 1, dtype=torch.cfloat)
        low, high = spectrum[:, :, :m, :m], spectrum[:, :, -m:, :m]
        out[:, :, :m, :m] = torch.einsum("bixy,ioxy->boxy", low, self.weights[0])
        out[:, :, -m:, :m] = torch.einsum("bixy,ioxy->boxy", high, self.weights[1])
        return torch.fft.irfft2(out, s=x.shape[-2:], norm=self.norm)


class Filter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(weights(5))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        return (spectrum * self.factors).imag + spectrum.real


MODULES = {
    "rfft": (Applied(lambda x: torch.view_as_real(torch.fft.rfft(x))), (1, 2, 5)),
    "rfft, even": (Applied(lambda x: torch.fft.rfft(x, norm="ortho").imag), (1, 2, 6)),
    "rfft2": (Applied(lambda x: torch.fft.rfft2(x).real), (1, 4, 5)),
    "irfft": (Applied(lambda x: torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1])), (1, 7)),
    "irfft, shorter": (Applied(lambda x: torch.fft.irfft(torch.fft.rfft(x), n=6)), (1, 9)),
    "irfft, longer": (Applied(lambda x: torch.fft.irfft(torch.fft.rfft(x), n=12)), (1, 8)),
    "fft": (
        Applied(lambda x: torch.fft.ifft(torch.fft.fft(torch.fft.rfft(x, norm="forward"))).imag),
        (1, 2, 6),
    ),
    "product": (Filter(), (1, 2, 8)),
    "padded": (
        Applied(lambda x: torch.fft.irfft(nn.functional.pad(torch.fft.rfft(x), (1, 2, 0, 1)), n=9)),
        (1, 2, 6),
    ),
    "sizes": (Applied(lambda x: torch.fft.rfft(x).abs()), (1, 2, 6)),
    "layer of one axis": (Layer1d(2, 3), (1, 2, 8)),
    "layer of one axis, all modes": (Layer1d(2, 5), (1, 2, 8)),
    "layer of two axes": (Layer2d(2, 2, "backward"), (1, 2, 6, 5)),
    "layer of two axes, ortho": (Layer2d(2, 2, "ortho"), (1, 2, 5, 6)),
    "layer of two axes, forward": (Layer2d(2, 2, "forward"), (1, 2, 6, 6)),
}


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_the_real_graph_computes_what_the_program_does(name, decomposed):
    module, shape = MODULES[name]
    program = exported(module, shape)
    if decomposed:
        program = program.run_decompositions()
    graph = prepare(program, {"x": shape})
    assert all(node.kind == "real" for node in graph.nodes)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    point = {"x": x.double()}
    found = interpret(graph, values(box(graph, point, point))).value
    with torch.no_grad():
        expected = module(x)
    middle = found.midpoint_radius()[0][0]
    assert torch.allclose(middle, expected.double(), atol=2e-5, rtol=1e-4)
    assert float((found.upper - found.lower).max()) < 1e-11


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("layer")])
def test_layers_are_recognised_by_operator(name):
    module, shape = MODULES[name]
    graph = prepare(exported(module, shape), {"x": shape})
    network = recognise(graph)
    (entries,) = network.sources[-1].terms.values()
    assert entries.error < 1e-9
    largest = max(
        float(torch.linalg.matrix_norm(block, 2))
        for block in _blocks(entries.frequencies, entries.values)
    )
    x = torch.zeros(shape)
    matrix = torch.autograd.functional.jacobian(module, x).reshape(x.numel(), -1)
    assert largest == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-5)


def _blocks(frequencies: Tensor, blocks: Tensor) -> list[Tensor]:
    """Of each frequency, with what acts on all of them."""
    alike = frequencies > 1 << 30
    everywhere = blocks[alike.all(1)].sum(0)
    own = [block + everywhere for block in blocks[~alike.all(1)]]
    return [*own, everywhere]


class Operator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.layers = nn.Linear(2, 2), nn.ModuleList([Layer1d(2, 3), Layer1d(2, 3)])
        self.project = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        place = torch.linspace(0, 1, x.shape[1]).reshape(1, -1, 1)
        hidden = self.lift(torch.cat([x, place.expand(x.shape[0], -1, -1)], dim=2))
        hidden = hidden.permute(0, 2, 1)
        for layer in self.layers:
            hidden = torch.nn.functional.gelu(layer(hidden))
        return self.project(hidden.permute(0, 2, 1))


def test_an_operator_as_users_write_it_has_one_bound_on_all_grids():
    module = Operator().eval()
    uppers = set()
    for points in (8, 24):
        shape = (1, points, 1)
        graph = prepare(exported(module, shape), {"x": shape})
        problem = Problem(graph, Everything(), Norms("l2", "l2"))
        upper = next(each.upper for each in Fourier().run(problem, Board()) if each)
        uppers.add(upper)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            x = torch.randn(shape, generator=generator)
            matrix = torch.autograd.functional.jacobian(module, x).reshape(points, -1)
            assert float(torch.linalg.matrix_norm(matrix, 2)) <= upper
    assert len(uppers) == 1
