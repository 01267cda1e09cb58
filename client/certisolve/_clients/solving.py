"""Asking for solutions: now, as a job, or frame by frame."""

from collections.abc import Mapping, Sequence
from typing import Unpack

from certisolve._arguments import Priority
from certisolve._arrays import Array, Tensor
from certisolve._job_calls import read_job, read_solve
from certisolve._jobs import AsyncJob, Job, draw_key
from certisolve._results import Solution
from certisolve._solves import Asked, build_solve
from certisolve._streams import AsyncStream, Stream

from .connection import AsyncConnection, Connection


class SolvingClient(Connection):
    """A client as far as solutions go."""

    def solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        parameters: Mapping[str, float] | None = None,
        t: float | Sequence[float] | Array | None = None,
        steps: int | None = None,
        save_every: int | None = None,
        resume_from: int | None = None,
        version: str | None = None,
        tolerance: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        diagnostics: bool = True,
        priority: Priority = "normal",
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Solution:
        """The fields the model computes from `inputs`.

        Args:
            model: name of the model.
            inputs: by the names and with the axes of the manifest: numpy arrays, nested lists,
                torch tensors or xarray.DataArrays. Float64 and lists are sent as float32, in which
                the models compute.
            parameters: scalars of the equation; those left out take their defaults.
            t: times at which the solution is wanted, ascending; None for the manifest's.
            steps: how many steps of the model to go, instead of `t`: a frame of each is wanted.
            save_every: of every so many steps a frame is wanted, up to the last one asked for by
                `t` or `steps`, and of that; None for each with `steps`, for the times alone with
                `t`.
            resume_from: frames up to the step of this number are known, and left out.
            version: of the model; None for the newest.
            tolerance: of the relative residual, for iterative solvers; None for the manifest's.
            rtol: relative tolerance of a step, for the family `ode`; None for the manifest's.
            atol: absolute tolerance of a step, for the family `ode`; None for the manifest's.
            diagnostics: whether the answer shall say how far it can be trusted.
            priority: which of the tenant's solves go first; between tenants it changes nothing.
            idempotency_key: the server keeps the answer under this name and gives it again to
                whoever sends the same request under the same key. 1 to 255 printable ASCII
                characters without a space at either end; None for none.
            timeout: seconds this call may take in all; None for the client's.

        Raises:
            TypeError: an input is not an array of numbers, or a number of steps no whole number.
            ValueError: a parameter, time, number of steps, timeout, priority or key is out of its
                range.
            InvalidRequest: the model cannot take this; `field` and `detail` say why.
            NotFound: no such model or version.
            IdempotencyConflict: the key was used for another request.
            Overloaded: the server's queue stayed full over all retries.
            Unavailable: server, model or queue stayed out of reach over all retries.
            RequestTimeout: no answer in time.
            DeadlineExceeded: the same, noticed by the server, which says where the time went.
        """
        asked: Asked = {
            "parameters": parameters,
            "t": t,
            "steps": steps,
            "save_every": save_every,
            "resume_from": resume_from,
            "version": version,
            "tolerance": tolerance,
            "rtol": rtol,
            "atol": atol,
            "diagnostics": diagnostics,
            "priority": priority,
            "timeout": timeout,
        }
        call = build_solve("solve", model, inputs, asked, self._defaults, idempotency_key)
        return self._answer(call, read_solve)

    def submit_solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> Job[Solution]:
        """Start a solve in the background; arguments and exceptions as for `solve`.

        A submission that was lost on its way is sent again, as a solve is: the key makes sure that
        it starts one job all the same.

        Args:
            model: as for `solve`.
            inputs: as for `solve`.
            idempotency_key: submissions of the same request under the same key are one job. Pass
                one that outlives this process, the name of a file for instance, to find the job
                again after a crash; None for a random one.
            asked: as for `solve`. `timeout` is what the submission may take, not the job.

        Raises:
            IdempotencyConflict: the key was used for another request.
            ConnectionFailed: the connection broke in every attempt. The job may or may not have
                been started; only with a key of your own can you tell, by calling again.
        """
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_solve("submit_solve", model, inputs, asked, self._defaults, key)
        return self.job(read_job(self._send(call)).info.id)

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        **asked: Unpack[Asked],
    ) -> Stream:
        """The frames of a solution as they are computed; arguments and exceptions as for `solve`.

        Nothing is sent before the first frame is asked for. Leaving the `with` block, or `close`,
        ends the computation.

        Args:
            model: as for `solve`; of one that does not advance in time, the answer is one frame.
            inputs: as for `solve`.
            asked: as for `solve`, without a key. `timeout` is the longest wait for the next frame,
                seconds; all of them together may take as long as they must.

        Example:
            >>> with client.stream("ns2d-fno", {"w": w0}, steps=50) as frames:
            ...     for frame in frames:
            ...         print(frame.t, frame.fields["w"].max())
            ... print(frames.summary.diagnostics)
        """
        call = build_solve("stream", model, inputs, asked, self._defaults)
        return Stream(call, stream=self._transport.stream, clock=self._clock, retry=self._retry)


class AsyncSolvingClient(AsyncConnection):
    """As `SolvingClient`, with `await`."""

    async def solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        parameters: Mapping[str, float] | None = None,
        t: float | Sequence[float] | Array | None = None,
        steps: int | None = None,
        save_every: int | None = None,
        resume_from: int | None = None,
        version: str | None = None,
        tolerance: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        diagnostics: bool = True,
        priority: Priority = "normal",
        idempotency_key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.solve`
    ) -> Solution:
        """As `Client.solve`."""
        asked: Asked = {
            "parameters": parameters,
            "t": t,
            "steps": steps,
            "save_every": save_every,
            "resume_from": resume_from,
            "version": version,
            "tolerance": tolerance,
            "rtol": rtol,
            "atol": atol,
            "diagnostics": diagnostics,
            "priority": priority,
            "timeout": timeout,
        }
        call = build_solve("solve", model, inputs, asked, self._defaults, idempotency_key)
        return await self._answer(call, read_solve)

    async def submit_solve(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> AsyncJob[Solution]:
        """As `Client.submit_solve`."""
        key = draw_key() if idempotency_key is None else idempotency_key
        call = build_solve("submit_solve", model, inputs, asked, self._defaults, key)
        return self.job(read_job(await self._send(call)).info.id)

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        **asked: Unpack[Asked],
    ) -> AsyncStream:
        """As `Client.stream`; asks no server yet, so there is nothing to await."""
        call = build_solve("stream", model, inputs, asked, self._defaults)
        return AsyncStream(
            call, stream=self._transport.astream, clock=self._clock, retry=self._retry
        )
