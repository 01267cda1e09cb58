"""Asking for derivatives of solutions."""

from collections.abc import Mapping
from typing import Unpack

from certisolve._arrays import Tensor
from certisolve._derivatives import Derivative, Where, build_derivative, read_derivative

from .solving import AsyncSolvingClient, SolvingClient


class DifferentiatingClient(SolvingClient):
    """A client as far as solutions and their derivatives go."""

    def jvp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        tangents: Mapping[str, Tensor],
        *,
        parameter_tangents: Mapping[str, Tensor] | None = None,
        **where: Unpack[Where],
    ) -> Derivative:
        """A solution, and how it changes along directions of the inputs: J u, by forward mode.

        Args:
            model: as for `solve`.
            inputs: as for `solve`.
            tangents: u by the names of inputs, each with an axis of directions in front of the
                axes of the input; without one for a single direction, and then the derivatives
                have none either. Inputs that are left out do not change.
            parameter_tangents: likewise of parameters, a number per direction.
            where: as for `solve`.

        Raises:
            ValueError: no direction is named; otherwise as for `solve`.
            InvalidRequest: the model has no derivatives, or cannot take this; `field` and `detail`
                say why.
        """
        call = build_derivative(
            "jvp", model, inputs, tangents, parameter_tangents, where, self._defaults
        )
        return read_derivative(call, self._send(call))

    def vjp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        cotangents: Mapping[str, Tensor],
        **where: Unpack[Where],
    ) -> Derivative:
        """A solution, and gradients of its inner products with directions: J^T v, in reverse.

        Args:
            model: as for `solve`.
            inputs: as for `solve`.
            cotangents: v by the names of outputs, each with an axis of directions in front of the
                axes of the field; without one for a single direction, and then the derivatives
                have none either. Outputs that are left out do not count.
            where: as for `solve`.

        Raises:
            ValueError: no direction is named; otherwise as for `solve`.
            InvalidRequest: the model has no derivatives, or cannot take this; `field` and `detail`
                say why.
        """
        call = build_derivative("vjp", model, inputs, cotangents, None, where, self._defaults)
        return read_derivative(call, self._send(call))


class AsyncDifferentiatingClient(AsyncSolvingClient):
    """As `DifferentiatingClient`, with `await`."""

    async def jvp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        tangents: Mapping[str, Tensor],
        *,
        parameter_tangents: Mapping[str, Tensor] | None = None,
        **where: Unpack[Where],
    ) -> Derivative:
        """As `Client.jvp`."""
        call = build_derivative(
            "jvp", model, inputs, tangents, parameter_tangents, where, self._defaults
        )
        return read_derivative(call, await self._send(call))

    async def vjp(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        cotangents: Mapping[str, Tensor],
        **where: Unpack[Where],
    ) -> Derivative:
        """As `Client.vjp`."""
        call = build_derivative("vjp", model, inputs, cotangents, None, where, self._defaults)
        return read_derivative(call, await self._send(call))
