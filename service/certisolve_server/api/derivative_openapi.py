"""What the OpenAPI document says about derivatives."""

from typing import Any

from pydantic import Field

from certisolve import wire

from . import schemas
from .openapi import JSON_TYPE, SOLVE_STREAM, TENSORS, reference

_ARRAYS = {"type": "object", "additionalProperties": {"type": "array"}}


class DerivativeReply(schemas.SolveReply):
    """A solve's reply with derivatives; over safetensors these are `derivatives.<name>`."""

    derivatives: dict[str, list[object]] = Field(
        description="Of outputs (jvp) or by inputs (vjp), each with an axis of directions in front."
    )
    parameter_derivatives: dict[str, list[float]] = Field(
        description="By parameters (vjp), a number per direction."
    )


def _operation(summary: str, description: str, roles: tuple[str, ...]) -> dict[str, Any]:
    directions = {"type": "object", "properties": dict.fromkeys(("inputs", *roles), _ARRAYS)}
    body = {"schema": {"allOf": [{"$ref": "#/components/schemas/SolveBody"}, directions]}}
    return {
        "tags": ["derivatives"],
        "summary": summary,
        "description": f"{description} Directions of one tensor stand one after the other along a "
        "first axis, which a single one may leave out. Over safetensors they are named "
        f"{' and '.join(f'`{role}.<name>`' for role in roles)}.",
        # As of a stream: no preferences, and no key.
        "parameters": SOLVE_STREAM["parameters"],
        "requestBody": {"required": True, "content": {JSON_TYPE: body, wire.SAFETENSORS: TENSORS}},
        "responses": {
            **SOLVE_STREAM["responses"],
            "200": {
                "description": "Solution and derivatives",
                "content": {JSON_TYPE: reference("DerivativeReply"), wire.SAFETENSORS: TENSORS},
            },
        },
    }


JVP = _operation(
    "Solve, and differentiate along directions of the inputs",
    "The solution, and how it changes along `tangents` of inputs and `parameter_tangents` of "
    "parameters; those left out are zero.",
    ("tangents", "parameter_tangents"),
)
VJP = _operation(
    "Solve, and differentiate along directions of the outputs",
    "The solution, and the gradients by inputs and parameters of its inner products with "
    "`cotangents` of outputs; those left out are zero.",
    ("cotangents",),
)

#: Named above, beside those of `openapi.SCHEMAS`.
SCHEMAS = (DerivativeReply,)
