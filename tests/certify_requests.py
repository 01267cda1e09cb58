"""Requests for certificates of the model `double` of `helpers.field_manifest`."""

from dataclasses import replace
from typing import Any

import numpy as np

from certisolve_server.certification.request import BallDomain, CertifyRequest

CENTER = np.linspace(0, 1, 16)
BALL = BallDomain({"u0": CENTER}, 0.1, "linf")


def certify_request(**changes: Any) -> CertifyRequest:
    """On a ball, with changes."""
    return replace(CertifyRequest("double", BALL), **changes)
