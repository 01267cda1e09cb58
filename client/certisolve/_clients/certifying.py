"""Asking for certificates: now, as a job, or as they get better."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Unpack

from certisolve._certificate import Certificate
from certisolve._certify import Question, build_certify
from certisolve._job_calls import read_certify, read_job
from certisolve._jobs import AsyncJob, Job, draw_key

from .differentiating import AsyncDifferentiatingClient, DifferentiatingClient


class CertifyingClient(DifferentiatingClient):
    """A client as far as solutions, derivatives and certificates go."""

    def certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> Certificate:
        """A proven bound of how much the model's output changes with its inputs, on a set.

        For all x, y in the set, |f(x) - f(y)| <= upper |x - y|; `certificate.map` says which map f
        is meant. The set is a ball (`center` and `radius`, perhaps cut by `lower` and `upper`), a
        box (`lower` and `upper`), or everything (`domain="global"`).

        Args:
            model: name of the model.
            center: of the ball, by the inputs that vary; taken as the numbers they are, in float64.
            radius: of the ball, in the units of the inputs, over all inputs that vary together.
            norm: of the radius: `l1`, `l2`, `linf` or `grid_l2`; None for `l2`.
            lower: least values, by input.
            upper: greatest values, by input.
            domain: `global` for everything.
            inputs: those that stay as they are, by name; the others vary.
            parameters: scalars of the equation; those left out take their defaults.
            resolution: sizes of the grid axes for `global`; None for the first validated ones.
            input_norm: of differences of inputs; None for that of the ball, or `l2`.
            output_norm: of differences of outputs; None likewise.
            input_scale: by input, in units of which its differences are measured.
            output_scale: likewise of the output.
            output: which output; None for the first.
            component: flat index of the one number of the output that is meant; None for all.
            soundness: `real`: of the map on real numbers; `float`: with the rounding of what is
                executed, see `Certificate.rounding`.
            budget_s: seconds of search.
            gap: upper / lower at which the search may end.
            max_splits: cuts of the set at most; None for what the budget allows.
            steps: of models that go on by steps: how many are certified together; None for one.
            t: of models that integrate: over how many seconds; None for the manifest's.
            seed: of what is random in the search.
            version: of the model; None for the newest.
            priority: as for `solve`.
            timeout: seconds this call may take in all; None for the client's and the budget.
            idempotency_key: as for `solve`.

        Raises:
            TypeError: an input is not an array of numbers.
            ValueError: there is no set or more than one, or a number is out of its range.
            InvalidRequest: the model cannot take this, or is refused by name: an operator without
                a proven rule, one that may jump, a family without a map; `code` and `detail` say.
            NotFound: no such model or version.
            Overloaded: the server's queue stayed full over all retries.
            RequestTimeout: no answer in time.

        Example:
            >>> certificate = client.certify(
            ...     "burgers1d-fno", center={"u0": u0}, radius=0.1, norm="linf", budget_s=10
            ... )
            >>> print(certificate.upper, certificate.gap, certificate.method)
        """
        call = build_certify("certify", model, question, self._defaults, idempotency_key)
        return self._answer(call, read_certify)

    def submit_certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> Job[Certificate]:
        """Start a certification in the background; arguments and exceptions as for `certify`.

        `Job.events` tells of better bounds as they are proven.

        Args:
            model: as for `certify`.
            idempotency_key: as for `submit_solve`.
            question: as for `certify`. `timeout` is what the submission may take, not the job.
        """
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_certify("submit_certify", model, question, self._defaults, key)
        return self.job(read_job(self._send(call)).info.id)

    def certify_stream(
        self, model: str, **question: Unpack[Question]
    ) -> Generator[Certificate, None, None]:
        """Ever better certificates as they are proven; the last one is the answer.

        Nothing is sent before the first one is asked for. Leaving the loop early ends the search,
        when the generator is closed. All but the last are without what proves them again.

        Args:
            model: as for `certify`.
            question: as for `certify`. `timeout` is what the submission may take.

        Example:
            >>> for certificate in client.certify_stream("kan-formula", domain="global"):
            ...     print(certificate.elapsed_s, certificate.upper, certificate.lower)
        """
        job = self.submit_certify(model, **question)
        try:
            with contextlib.closing(job.certificates()) as certificates:
                yield from certificates
        except (GeneratorExit, KeyboardInterrupt):
            job.cancel()
            raise


class AsyncCertifyingClient(AsyncDifferentiatingClient):
    """As `CertifyingClient`, with `await`."""

    async def certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> Certificate:
        """As `Client.certify`."""
        call = build_certify("certify", model, question, self._defaults, idempotency_key)
        return await self._answer(call, read_certify)

    async def submit_certify(
        self, model: str, *, idempotency_key: str | None = None, **question: Unpack[Question]
    ) -> AsyncJob[Certificate]:
        """As `Client.submit_certify`."""
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_certify("submit_certify", model, question, self._defaults, key)
        return self.job(read_job(await self._send(call)).info.id)

    async def certify_stream(
        self, model: str, **question: Unpack[Question]
    ) -> AsyncGenerator[Certificate, None]:
        """As `Client.certify_stream`, for `async for`."""
        job = await self.submit_certify(model, **question)
        try:
            async with contextlib.aclosing(job.certificates()) as certificates:
                async for certificate in certificates:
                    yield certificate
        except (GeneratorExit, asyncio.CancelledError):
            await job.cancel()
            raise
