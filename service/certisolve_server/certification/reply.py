"""A certificate as the document that callers get."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from certisolve_server.certifier.certificate import Certificate
from certisolve_server.certifier.methods.registry import METHODS
from certisolve_server.certifier.region import Point
from certisolve_server.certifier.witness import Witness
from certisolve_server.jobs import Array, ModelKey

from .request import BallDomain, BoxDomain, CertifyRequest, GlobalDomain
from .subjects.subject import Subject
from .version import CERTIFIER

#: Beyond so many bytes, evidence is left out.
_MAX_EVIDENCE_BYTES = 32 << 20


def document(
    certificate: Certificate, subject: Subject, request: CertifyRequest, model: ModelKey
) -> dict[str, Any]:
    """What was proven, of which map, and what proves it."""
    return {
        "upper": _finite(certificate.upper),
        "lower": certificate.lower,
        "gap": _finite(certificate.gap),
        "status": certificate.status,
        "reason": _reason(certificate, request.budget_s),
        "method": certificate.method or None,
        "domain": _domain(request),
        "norms": {
            "input": request.norms[0],
            "output": request.norms[1],
            "input_scale": _lists(request.input_scale),
            "output_scale": _lists(request.output_scale),
        },
        "soundness": certificate.level,
        "rounding": certificate.rounding,
        "witness": _witness(certificate.witness),
        "history": [(t, _finite(upper), lower) for t, upper, lower in certificate.history],
        "error_amplification": _amplification(certificate, request),
        "enclosure": _enclosure(certificate),
        "map": subject.description,
        "out_of_range": subject.out_of_range,
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "request": _rest(request, subject),
        "graph": certificate.graph,
        "rules": certificate.rules,
        "methods": _methods(certificate),
        "evidence": certificate.evidence,
        "certifier": CERTIFIER,
        "elapsed_s": certificate.elapsed_s,
        "seed": certificate.seed,
        "budget_s": request.budget_s,
    }


def encode(said: Mapping[str, Any]) -> bytes:
    """A document as JSON; without its evidence if that is too large to travel."""
    text = orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY)
    return text if len(text) <= _MAX_EVIDENCE_BYTES else brief(said)


def brief(said: Mapping[str, Any]) -> bytes:
    """A document as JSON, without its evidence."""
    return orjson.dumps({**said, "evidence": None}, option=orjson.OPT_SERIALIZE_NUMPY)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _reason(certificate: Certificate, budget_s: float) -> str | None:
    """Why there is no upper bound; first which methods might find one in more time."""
    if math.isfinite(certificate.upper):
        return None
    notes = [f"{name}: {note}" for name, note in certificate.notes.items()]
    late = ", ".join(each.name for each in METHODS if each.name not in certificate.notes)
    if late and certificate.elapsed_s >= budget_s:
        notes = [f"no bound by {late} within budget_s; a larger one may do", *notes]
    return "; ".join(notes)


def _methods(certificate: Certificate) -> dict[str, str]:
    found = {certificate.method: "bound"} if certificate.method else {}
    return {**certificate.notes, **found}


def _domain(request: CertifyRequest) -> Any:
    domain = request.domain
    match domain:
        case BallDomain():
            corners = {
                name: _lists(corner)
                for name, corner in (("lower", domain.lower), ("upper", domain.upper))
                if corner
            }
            center = _lists(domain.center)
            return {"center": center, "radius": domain.radius, "norm": domain.norm, **corners}
        case BoxDomain():
            return {"lower": _lists(domain.lower), "upper": _lists(domain.upper)}
        case GlobalDomain():
            return "global"


def _rest(request: CertifyRequest, subject: Subject) -> dict[str, Any]:
    """With the set and the norms, what asks for the same map again."""
    said = {
        "inputs": _lists(request.inputs),
        "parameters": dict(request.parameters),
        "resolution": request.resolution,
        "output": subject.output,
        "component": request.component,
        "steps": request.steps,
        "t": request.t,
    }
    return {name: value for name, value in said.items() if value not in (None, {})}


def _witness(witness: Witness | None) -> dict[str, Any] | None:
    if witness is None:
        return None
    other = "y" if witness.kind == "pair" else "v"
    return {
        "kind": witness.kind,
        "x": _point(witness.x),
        other: _point(witness.other),
        "lower": witness.lower,
    }


def _amplification(certificate: Certificate, request: CertifyRequest) -> dict[str, Any] | None:
    """What an error of the size of the set comes to, at most."""
    domain = request.domain
    if not isinstance(domain, BallDomain) or not math.isfinite(certificate.upper):
        return None
    change = math.nextafter(certificate.upper * domain.radius, math.inf)
    if certificate.rounding is not None:
        change = math.nextafter(change + 2 * certificate.rounding, math.inf)
    if not math.isfinite(change):
        return None
    radius = domain.radius
    statement = (
        f"inputs of the set that differ by at most {radius:g} in {request.norms[0]} have outputs "
        f"that differ by at most {change:.6g} in {request.norms[1]}"
    )
    return {"radius": radius, "output_change": change, "statement": statement}


def _enclosure(certificate: Certificate) -> dict[str, list[float]] | None:
    enclosure = certificate.enclosure
    if enclosure is None:
        return None
    ends = enclosure.lower.flatten(), enclosure.upper.flatten()
    if not all(bool(end.isfinite().all()) for end in ends):
        return None
    return {"lower": ends[0].tolist(), "upper": ends[1].tolist()}


def _point(point: Point) -> dict[str, Any]:
    # Without the leading axis of one request.
    return {name: value.squeeze(0).tolist() for name, value in point.items()}


def _lists(arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}
