"""A request for a certificate as JSON and arrays, as it travels in a job; what makes two the same.

The JSON names the arrays by role and name, in order; what only says how long and how well to
search stands apart, under `search`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from certisolve import wire
from certisolve_server.jobs import Array, ModelKey

from .request import BallDomain, BoxDomain, CertifyRequest, Domain, GlobalDomain

_PLAIN = (
    "model", "version", "resolution", "input_norm", "output_norm", "output", "component",
    "soundness", "steps", "t",
)  # fmt: skip
_SEARCH = ("budget_s", "gap", "max_splits", "seed")
_ROLES = ("inputs", "input_scale", "output_scale")


class Question(NamedTuple):
    """A request, ready to travel.

    Attributes:
        text: JSON.
        arrays: that it names.
    """

    text: str
    arrays: tuple[Array, ...]


def encode(request: CertifyRequest) -> Question:
    """A request that was checked, as JSON and arrays."""
    kind, more, corners = _set_of(request.domain)
    roles = {role: getattr(request, role) for role in _ROLES} | corners
    named = [((role, name), roles[role][name]) for role in roles for name in sorted(roles[role])]
    document = {
        **{name: getattr(request, name) for name in _PLAIN},
        "parameters": dict(request.parameters),
        "domain": {"kind": kind, **more},
        "arrays": [name for name, _ in named],
        "search": {name: getattr(request, name) for name in _SEARCH},
    }
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    return Question(text, tuple(array for _, array in named))


def decode(question: Question) -> CertifyRequest:
    """The request of a question.

    Raises:
        LookupError, TypeError, ValueError: it is none.
    """
    document: dict[str, Any] = json.loads(question.text)
    roles: dict[str, dict[str, Array]] = {}
    for (role, name), array in zip(document["arrays"], question.arrays, strict=True):
        roles.setdefault(role, {})[name] = array
    plain = {name: document[name] for name in _PLAIN}
    if plain["resolution"] is not None:
        plain["resolution"] = tuple(plain["resolution"])
    return CertifyRequest(
        **plain,
        **document["search"],
        parameters=document["parameters"],
        domain=_domain(document["domain"], roles),
        inputs=roles.get("inputs", {}),
        input_scale=roles.get("input_scale", {}),
        output_scale=roles.get("output_scale", {}),
    )


def key(question: Question, model: ModelKey, certifier: str) -> str:
    """SHA-256 in hex of what is to be certified of which program by which certifier.

    How long to search and how well is no part of it.
    """
    document = json.loads(question.text)
    del document["search"]
    kinds = [(wire.dtype_name(array), array.shape) for array in question.arrays]
    # The sizes stand before the bytes, so that no two questions run together to the same text.
    said = json.dumps([document, kinds, model, certifier], sort_keys=True)
    sha = hashlib.sha256(said.encode())
    for array in question.arrays:
        sha.update(wire.to_bytes(array))
    return sha.hexdigest()


def digest(question: Question) -> str:
    """SHA-256 in hex of all that is asked, the search included."""
    asked = key(question, ModelKey("", ""), "")
    return hashlib.sha256(f"{asked} {question.text}".encode()).hexdigest()


def search_of(text: str) -> Mapping[str, Any]:
    """How long to search, and how well: `budget_s`, `gap`, `max_splits` and `seed`."""
    found: Mapping[str, Any] = json.loads(text)["search"]
    return found


def _set_of(domain: Domain) -> tuple[str, dict[str, Any], dict[str, Mapping[str, Array]]]:
    match domain:
        case BallDomain():
            more = {"radius": float(domain.radius), "norm": domain.norm}
            corners = {"center": domain.center, "lower": domain.lower, "upper": domain.upper}
            return "ball", more, corners
        case BoxDomain():
            return "box", {}, {"lower": domain.lower, "upper": domain.upper}
        case GlobalDomain():
            return "global", {}, {}


def _domain(said: Mapping[str, Any], roles: Mapping[str, Mapping[str, Array]]) -> Domain:
    lower, upper = roles.get("lower", {}), roles.get("upper", {})
    match said["kind"]:
        case "ball":
            return BallDomain(roles["center"], said["radius"], said["norm"], lower, upper)
        case "box":
            return BoxDomain(lower, upper)
        case "global":
            return GlobalDomain()
    raise ValueError(f"no set is called {said['kind']!r}")
