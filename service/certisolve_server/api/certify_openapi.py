"""What the OpenAPI document says about certificates."""

from typing import Any

from certisolve import wire

from . import certify_schemas
from .openapi import JSON_TYPE, SOLVE, TENSORS, problem, reference

_ARRAYS = {"type": "object", "additionalProperties": True}
_BALL = {
    "type": "object",
    "required": ["center", "radius"],
    "properties": {
        "center": _ARRAYS,
        "radius": {"type": "number", "minimum": 0},
        "norm": {"enum": ["l1", "l2", "linf", "grid_l2"]},
        "lower": _ARRAYS,
        "upper": _ARRAYS,
    },
}
_BOX = {
    "type": "object",
    "required": ["lower", "upper"],
    "properties": {"lower": _ARRAYS, "upper": _ARRAYS},
}
_DOMAIN = {
    "description": "A ball, perhaps cut by a box; a box; or everything.",
    "oneOf": [_BALL, _BOX, {"const": "global"}],
}
_TENSORS_OF_A_BODY = {
    "domain": _DOMAIN,
    "inputs": {**_ARRAYS, "description": "Inputs that stay as they are."},
    "input_scale": {**_ARRAYS, "description": "A number, or one per channel, by input."},
    "output_scale": {**_ARRAYS, "description": "Likewise, by output."},
}

CERTIFY: dict[str, Any] = {
    "tags": ["certify"],
    "summary": "Certify",
    "description": "A proven bound of how fast an output changes with the inputs on a set, with a "
    "witness of how fast it does. Every input is in the set, or kept as it is in `inputs`. "
    "Over safetensors, tensors go by their paths: `domain.center.u0`, `inputs.a`. A search that "
    "would take longer than the caller waits becomes a job; its events tell better bounds as they "
    "are found.",
    "parameters": SOLVE["parameters"],
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": {
                    "allOf": [
                        reference("CertifyBody")["schema"],
                        {
                            "type": "object",
                            "required": ["domain"],
                            "properties": _TENSORS_OF_A_BODY,
                        },
                    ]
                },
                "examples": {
                    "a ball": {"value": certify_schemas.certify_example()},
                    "everything": {"value": {"domain": "global", "output_norm": "l2"}},
                },
            },
            wire.SAFETENSORS: TENSORS,
        },
    },
    "responses": {
        **SOLVE["responses"],
        "200": {
            **SOLVE["responses"]["200"],
            "description": "A certificate",
            "content": {JSON_TYPE: reference("CertificateReply"), wire.SAFETENSORS: TENSORS},
        },
        "422": problem(
            "What is wrong with the request; or, by the codes `unsupported_operator`, "
            "`possibly_discontinuous` and `not_certified`, why nothing can be proven of it"
        ),
    },
}

#: Named above, beside those of `openapi.SCHEMAS`.
SCHEMAS = (
    certify_schemas.CertifyBody,
    certify_schemas.CertificateReply,
    certify_schemas.BoundEvent,
)
