"""A certificate's document read back: what was asked, and what is claimed."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from certisolve_server.certifier.verify import Claim
from certisolve_server.certifier.witness import Witness
from certisolve_server.errors import InvalidOption
from certisolve_server.jobs import Array, ModelKey

from .request import BallDomain, BoxDomain, CertifyRequest, Domain, GlobalDomain

#: Of whatever holds no certificate.
_DEFECTS = (KeyError, TypeError, ValueError, AttributeError)


def model_of(document: Mapping[str, Any]) -> ModelKey:
    """Of which artifact the certificate is.

    Raises:
        InvalidOption: the document is no certificate.
    """
    try:
        model = document["model"]
        return ModelKey(str(model["name"]), str(model["version"]), str(model["digest"]))
    except _DEFECTS as error:
        raise _malformed(error) from error


def request_of(document: Mapping[str, Any]) -> CertifyRequest:
    """What was asked, as far as it says which map is meant, on which set and in which norms.

    Raises:
        InvalidOption: the document is no certificate.
    """
    try:
        model, norms, rest = document["model"], document["norms"], document["request"]
        resolution = rest.get("resolution")
        return CertifyRequest(
            model=model["name"],
            version=model["version"],
            domain=_domain(document["domain"]),
            inputs=_arrays(rest.get("inputs")),
            parameters=rest.get("parameters", {}),
            resolution=None if resolution is None else tuple(resolution),
            input_norm=norms["input"],
            output_norm=norms["output"],
            input_scale=_arrays(norms.get("input_scale")),
            output_scale=_arrays(norms.get("output_scale")),
            output=rest.get("output"),
            component=rest.get("component"),
            soundness=document["soundness"],
            steps=rest.get("steps"),
            t=rest.get("t"),
        )
    except _DEFECTS as error:
        raise _malformed(error) from error


def claim_of(document: Mapping[str, Any]) -> Claim:
    """What is claimed to be proven.

    Raises:
        InvalidOption: the document is no certificate, or came without what proves it.
    """
    if document.get("evidence") is None:
        raise InvalidOption("the certificate came without its evidence", field="evidence")
    try:
        upper, witness = document["upper"], document["witness"]
        return Claim(
            graph=document["graph"],
            method=document["method"] or "",
            upper=math.inf if upper is None else float(upper),
            evidence=document["evidence"],
            witness=None if witness is None else _witness(witness),
            rounding=None if document["soundness"] == "real" else float(document["rounding"]),
        )
    except _DEFECTS as error:
        raise _malformed(error) from error


def _domain(said: Any) -> Domain:
    if said == "global":
        return GlobalDomain()
    lower, upper = _arrays(said.get("lower")), _arrays(said.get("upper"))
    if "center" not in said:
        return BoxDomain(lower, upper)
    return BallDomain(_arrays(said["center"]), float(said["radius"]), said["norm"], lower, upper)


def _arrays(said: Mapping[str, Any] | None) -> dict[str, Array]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in (said or {}).items()}


def _witness(said: Mapping[str, Any]) -> Witness:
    other = said["y"] if said["kind"] == "pair" else said["v"]
    return Witness(said["kind"], _point(said["x"]), _point(other), float(said["lower"]))


def _point(said: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """With the leading axis of one request."""
    return {name: torch.from_numpy(array).unsqueeze(0) for name, array in _arrays(said).items()}


def _malformed(error: Exception) -> InvalidOption:
    return InvalidOption(f"this is no certificate: {error!r}")
