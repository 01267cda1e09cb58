"""Fourier neural operators as chains: one block for each frequency, one multiplier per channel."""

from collections.abc import Sequence

from certisolve_server.certifier.arithmetic import Interval
from certisolve_server.certifier.errors import InvalidRequest
from certisolve_server.certifier.operators.fourier import as_real
from certisolve_server.certifier.operators.spectral import Spectral

from .chain import Chain
from .layers import Slopes


def spectral_chain(layers: Sequence[Spectral], slopes: Sequence[Slopes], last: Interval) -> Chain:
    """The chain of spectral layers with functions between, and a matrix at each point at the end.

    Multipliers that are the same at all points leave the inequalities of the chain block diagonal
    in the basis of Fourier; blocks of k and -k are conjugates. So what is proven of the chain is
    proven of the network in l2, also weighted by the grid, on this grid and on every other one with
    the same blocks; see `operators.spectral`.

    Args:
        layers: on one grid with the same frequencies.
        slopes: after each layer, (out channels,).
        last: (outputs, channels).
    """
    if len({(layer.grid, layer.frequencies) for layer in layers}) != 1:
        raise InvalidRequest("layers of one chain have the same frequencies on one grid")
    end = as_real(last, last * 0.0)
    return Chain((*(layer.blocks() for layer in layers), end), tuple(slopes), copies=2)
