"""What proves bounds of chains, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from certisolve_server.certifier.arithmetic.rounding import Numbers
from certisolve_server.certifier.chains import ChainCertificate, Ends
from certisolve_server.certifier.errors import InvalidRequest, NotCertified

from .method import Evidence


def to_json(parts: Sequence[ChainCertificate]) -> Evidence:
    """Numbers are float64, which JSON holds exactly."""
    return {"parts": [_part(part) for part in parts]}


def from_json(evidence: Evidence) -> tuple[ChainCertificate, ...]:
    """What `to_json` was given.

    Raises:
        NotCertified: the evidence is of another form.
    """
    try:
        return tuple(_certificate(part) for part in evidence["parts"])
    except (AttributeError, InvalidRequest, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise NotCertified(f"the evidence is not that of a chain: {error}") from error


def _part(part: ChainCertificate) -> Mapping[str, Any]:
    ends = part.ends
    return {
        "upper": part.upper,
        "by": part.method,
        "multipliers": [weights.tolist() for weights in part.multipliers],
        "column": ends.column,
        "row": ends.row,
        "inputs": None if ends.inputs is None else ends.inputs.tolist(),
        "outputs": None if ends.outputs is None else ends.outputs.tolist(),
    }


def _certificate(part: Mapping[str, Any]) -> ChainCertificate:
    if part["by"] not in ("product", "liplt", "closed_form", "lipsdp"):
        raise NotCertified(f"nothing is proven by {part['by']!r}")
    ends = Ends(
        _index(part["column"]), _index(part["row"]), _scale(part["inputs"]), _scale(part["outputs"])
    )
    multipliers = tuple(_numbers(weights) for weights in part["multipliers"])
    return ChainCertificate(float(part["upper"]), part["by"], multipliers, ends)


def _index(number: Any) -> int | None:
    return None if number is None else int(number)


def _scale(numbers: Any) -> Numbers | None:
    return None if numbers is None else _numbers(numbers)


def _numbers(listed: Any) -> Numbers:
    return torch.tensor(listed, dtype=torch.float64).reshape(-1)
