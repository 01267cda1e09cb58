"""Requests for certificates out of bodies and messages, and certificates into them."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from certisolve import wire
from certisolve.v1 import certifier_pb2
from certisolve_server.answers import Certified
from certisolve_server.certification.request import (
    BallDomain,
    BoxDomain,
    CertifyRequest,
    Domain,
    GlobalDomain,
)
from certisolve_server.errors import (
    BodyTooLarge,
    InvalidOption,
    MalformedBody,
    UnsupportedMediaType,
)
from certisolve_server.jobs import Array

from .bodies import JSON, read_arrays, validated
from .certify_schemas import CertifyBody, DomainBody
from .codec import Encoded
from .messages import to_arrays

#: Of tensors, beside those of the set; in safetensors in front of their names.
_ROLES = ("inputs", "input_scale", "output_scale")
_CORNERS = ("center", "lower", "upper")
_PATHS = (*(f"domain.{corner}" for corner in _CORNERS), *_ROLES)
_GLOBAL = "global"
#: Inputs, outputs or parameters that a request may name: more than any model has, and soon read.
_MOST_NAMES = 256
#: Fields of a message that may be absent, named as in JSON.
_OPTIONAL: tuple[
    Literal["component", "budget_s", "gap", "max_splits", "steps", "t", "seed"], ...
] = ("component", "budget_s", "gap", "max_splits", "steps", "t", "seed")

_Tensors = Mapping[str, dict[str, Array]]


def decode(model: str, media_type: str, body: bytes) -> CertifyRequest:
    """The request in a body.

    In safetensors, tensors go by their paths, `domain.center.u0` and `inputs.a`; those without a
    path are inputs that stay as they are.

    Args:
        model: from the path.
        media_type: of the body.
        body: whole.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if media_type == wire.SAFETENSORS:
        tensors, rest = _read_safetensors(body)
    elif media_type == JSON or body.lstrip()[:1] == b"{":
        tensors, rest = _read_json(body)
    else:
        raise UnsupportedMediaType(f"{media_type or 'no type'}: send {wire.SAFETENSORS} or {JSON}")
    return _request(model, tensors, rest)


def encode(certified: Certified, media_type: str) -> Encoded:
    """A certificate in one of the two media types; it has no tensors but in its JSON."""
    if media_type == JSON:
        return Encoded(certified.document, JSON)
    framed = wire.encode_safetensors({}, certified.document.decode())
    return Encoded(framed, wire.SAFETENSORS)


def encode_job_result(job: Mapping[str, Any], certified: Certified, media_type: str) -> Encoded:
    """A succeeded job with its certificate."""
    text = orjson.dumps({**job, "result": orjson.Fragment(certified.document)})
    return encode(Certified(text), media_type)


def to_certify_request(message: certifier_pb2.CertifyRequest, max_bytes: int) -> CertifyRequest:
    """The request in a message; its arrays are views of the message.

    Raises:
        InvalidRequest: a subclass that names the field at fault.
    """
    if message.ByteSize() > max_bytes:
        raise BodyTooLarge(f"the message may have {max_bytes} bytes")
    rest: dict[str, Any] = {
        name: getattr(message, name) for name in _OPTIONAL if message.HasField(name)
    }
    if message.resolution:
        rest["resolution"] = list(message.resolution)
    for name in ("version", "input_norm", "output_norm", "output", "soundness"):
        if getattr(message, name):
            rest[name] = getattr(message, name)
    rest["parameters"] = dict(message.parameters)
    tensors = {role: to_arrays(role, getattr(message, role)) for role in _ROLES}
    rest["domain"] = _domain_of(message, tensors)
    return _request(message.model, tensors, rest)


def _request(model: str, tensors: _Tensors, rest: Mapping[str, Any]) -> CertifyRequest:
    said = dict(rest)
    domain = _domain(said.pop("domain", None), tensors)
    unknown = said.keys() - CertifyBody.model_fields.keys()
    if unknown:
        raise InvalidOption("unknown key", field=min(unknown))
    _check_number("parameters", said.get("parameters"))
    parsed = validated(CertifyBody, said)
    values = parsed.model_dump(exclude={"resolution"})
    resolution = None if parsed.resolution is None else tuple(parsed.resolution)
    return CertifyRequest(
        model=model,
        domain=domain,
        resolution=resolution,
        inputs=tensors.get("inputs", {}),
        input_scale=tensors.get("input_scale", {}),
        output_scale=tensors.get("output_scale", {}),
        **values,
    )


def _domain(said: object, tensors: _Tensors) -> Domain:
    center, lower, upper = (tensors.get(f"domain.{corner}", {}) for corner in _CORNERS)
    if said == _GLOBAL:
        if center or lower or upper:
            raise InvalidOption("is 'global', or a ball, or a box", field="domain")
        return GlobalDomain()
    if said is None and not (center or lower or upper):
        raise InvalidOption("name a ball, a box or 'global'", field="domain")
    if not isinstance(said, dict | None):
        raise InvalidOption("must be an object, or 'global'", field="domain")
    more = validated(DomainBody, said or {}, "domain")
    if not center:
        if more.radius is not None or more.norm is not None:
            raise InvalidOption("a ball has a center", field="domain.center")
        return BoxDomain(lower, upper)
    if more.radius is None:
        raise InvalidOption("a ball has a radius", field="domain.radius")
    return BallDomain(center, more.radius, more.norm or "l2", lower, upper)


def _read_safetensors(body: bytes) -> tuple[_Tensors, dict[str, Any]]:
    try:
        tensors, rest = wire.decode_safetensors(body)
    except wire.WireError as error:
        raise MalformedBody(error.problem, field=error.field) from error
    taken: dict[str, dict[str, Array]] = {}
    for path, array in tensors.items():
        role = next((role for role in _PATHS if path.startswith(f"{role}.")), "inputs")
        taken.setdefault(role, {})[path.removeprefix(f"{role}.")] = array
    return taken, rest


def _read_json(body: bytes) -> tuple[_Tensors, dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; numbers are finite there" if b"NaN" in body or b"Infinity" in body else ""
        raise MalformedBody(f"not JSON: {error}{hint}") from error
    if not isinstance(document, dict):
        raise MalformedBody("the body must be a JSON object with the key domain")
    tensors = {role: _arrays(role, document.pop(role, {})) for role in _ROLES}
    domain = document.get("domain")
    if isinstance(domain, dict):
        document["domain"] = domain = dict(domain)
        for corner in _CORNERS:
            role = f"domain.{corner}"
            tensors[role] = _arrays(role, domain.pop(corner, {}))
    return tensors, document


def _arrays(role: str, values: object) -> dict[str, Array]:
    if not isinstance(values, dict):
        raise MalformedBody("must be an object of arrays by name", field=role)
    _check_number(role, values)
    return read_arrays(role, values)


def _check_number(role: str, named: object) -> None:
    if isinstance(named, dict) and len(named) > _MOST_NAMES:
        raise InvalidOption(f"name at most {_MOST_NAMES}, not {len(named)}", field=role)


def _domain_of(message: certifier_pb2.CertifyRequest, tensors: dict[str, dict[str, Array]]) -> Any:
    """What the set says beside its tensors, which join the others."""
    kind = message.WhichOneof("domain")
    if kind is None:
        return None
    if kind == "everything":
        return _GLOBAL
    domain = getattr(message, kind)
    for corner in _CORNERS if kind == "ball" else _CORNERS[1:]:
        role = f"domain.{corner}"
        tensors[role] = to_arrays(role, getattr(domain, corner))
    if kind == "box":
        return {}
    return {"radius": domain.radius, "norm": domain.norm or None}
