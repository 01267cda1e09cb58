"""Certificates as messages of certisolve.v1."""

import json
from collections.abc import Mapping
from typing import Any

from certisolve._arrays import Array
from certisolve._calls import Call, Reply
from certisolve.v1 import certifier_pb2, job_pb2
from certisolve.v1.tensor_pb2 import Tensor

from ._grpc_tensors import encode_tensors

#: Of the request's document, what stands in the message under the same name.
_PLAIN = (
    "input_norm",
    "output_norm",
    "output",
    "component",
    "soundness",
    "budget_s",
    "gap",
    "max_splits",
    "steps",
    "t",
    "seed",
    "resolution",
    "parameters",
)


def encode_certify(call: Call) -> certifier_pb2.CertifyRequest:
    """The message that asks for a certificate."""
    said: dict[str, Any] = {name: call.body[name] for name in _PLAIN if name in call.body}
    return certifier_pb2.CertifyRequest(
        model=call.model,
        version=call.version or "",
        inputs=_under("inputs.", call.tensors),
        input_scale=_under("input_scale.", call.tensors),
        output_scale=_under("output_scale.", call.tensors),
        **said,
        **_domain(call),
    )


def encode_submit_certify(call: Call) -> job_pb2.SubmitCertifyRequest:
    """The message that starts a certification."""
    return job_pb2.SubmitCertifyRequest(request=encode_certify(call))


def decode_certify(message: certifier_pb2.CertifyReply) -> Reply:
    """The reply in a message."""
    return Reply({}, certificate_body(message))


def certificate_body(message: certifier_pb2.CertifyReply) -> dict[str, Any]:
    """The document in a message.

    Raises:
        ValueError: there is none.
    """
    body = json.loads(message.certificate_json)
    if not isinstance(body, dict):
        raise ValueError("a certificate is a JSON object")
    return body


def _domain(call: Call) -> dict[str, Any]:
    domain = call.body["domain"]
    if domain == "global":
        return {"everything": certifier_pb2.GlobalDomain()}
    center, lower, upper = (
        _under(f"domain.{corner}.", call.tensors) for corner in ("center", "lower", "upper")
    )
    if "radius" in domain:
        ball = certifier_pb2.BallDomain(center=center, lower=lower, upper=upper, **domain)
        return {"ball": ball}
    return {"box": certifier_pb2.BoxDomain(lower=lower, upper=upper)}


def _under(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Tensor]:
    found = {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    return dict(encode_tensors(found))
