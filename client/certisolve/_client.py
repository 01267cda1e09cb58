"""The door to a server for blocking code; `_async_client` has its twin."""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from ._arguments import check_name
from ._arrays import Array, Tensor
from ._calls import (
    Call,
    Priority,
    build_model,
    build_models,
    check_tenant,
    check_timeout,
    read_model,
    read_models,
)
from ._certificate import Certificate
from ._certify import Question, build_certify
from ._clock import Clock, SystemClock
from ._config import DEFAULT_TIMEOUT_S
from ._derivatives import Derivative, Where, build_derivative, read_derivative
from ._job_calls import read_certify, read_job, read_solve
from ._jobs import Job, draw_key, poll, rest_of
from ._open import open_transport
from ._results import ModelInfo, Solution
from ._retry import RetryPolicy
from ._sending import sender
from ._session_calls import Manner, build_get, build_open, build_restore, read_session
from ._sessions import Session
from ._solves import Asked, Defaults, build_solve
from ._streams import Stream
from ._transports.base import Transport


class Client:
    """A certisolve server, for blocking code; may be shared by threads.

    Args:
        url: `http://`, `https://`, `grpc://` or `grpcs://`, host and port.
        tenant: on whose account solves run; tenants share the devices equally. 1 to 64 letters,
            digits, dots, underscores and hyphens; None for the server's default.
        timeout: seconds one call may take in all, retries included; None for no limit.
        retry: when to try again.
        transport: carries the calls instead of the one `url` asks for. Closed with the client.
        clock: time, for tests.

    Raises:
        ValueError: `url`, `tenant` or `timeout` is malformed.
        MissingDependency: the URL asks for gRPC, and the extra `grpc` is not installed.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     solution = client.solve("burgers1d-fno", {"u0": u0})
    """

    def __init__(
        self,
        url: str,
        *,
        tenant: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._defaults = Defaults(check_tenant(tenant), check_timeout(timeout))
        self._retry = retry or RetryPolicy()
        self._transport = transport or open_transport(url)
        self._clock = clock or SystemClock()
        self._send = sender(self._transport.send, self._retry, self._clock)

    def models(self) -> list[ModelInfo]:
        """Every version of every model on the server."""
        return read_models(self._send(build_models(self._defaults.timeout_s)))

    def model(self, name: str, version: str | None = None) -> ModelInfo:
        """One version of a model, the newest unless named.

        Raises:
            NotFound: no such model or version.
        """
        return read_model(self._send(build_model(name, version, self._defaults.timeout_s)))

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
        started_at = self._clock.monotonic()
        answer = read_solve(self._send(call))
        if isinstance(answer, Solution):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        solution: Solution = poll(self._send, self._clock, polls)
        return solution

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
        started_at = self._clock.monotonic()
        answer = read_certify(self._send(call))
        if isinstance(answer, Certificate):
            return answer
        polls = rest_of(call, answer, started_at, self._clock.monotonic())
        certificate: Certificate = poll(self._send, self._clock, polls)
        return certificate

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
        except GeneratorExit:
            job.cancel()
            raise

    def job(self, job_id: str) -> Job[Any]:
        """A handle on a job submitted earlier, perhaps by another process; asks no server."""
        return Job(
            job_id,
            send=self._send,
            stream=self._transport.stream,
            clock=self._clock,
            retry=self._retry,
            timeout_s=self._defaults.timeout_s,
        )

    def session(
        self,
        model: str,
        inputs: Mapping[str, Tensor],
        *,
        t: float = 0.0,
        parameters: Mapping[str, float] | None = None,
        version: str | None = None,
        horizon_steps: int | None = None,
        gain: float | None = None,
        automatic_gain: bool = False,
        max_noise_gain: float | None = None,
        ttl: float | None = None,
        priority: Priority = "normal",
        timeout: float | None = None,
    ) -> Session:
        """Begin a session: the model predicts while measurements correct it.

        Use it as a `with` block, at whose end the session is closed; without one it lives until
        `close`, or until nobody has called for its time to live.

        Args:
            model: name of a model that advances in time.
            inputs: its state at `t`: by the names and with the axes of the manifest; a frame, or a
                history of frames, that of `t` last. Of feedback models the first measurement.
            t: time of the inputs, by the session's clock.
            parameters: scalars of the equation; those left out take their defaults.
            version: of the model; None for the newest.
            horizon_steps: feedback models: steps ahead that `predict` can reach; None for the
                manifest's.
            gain: feedback models: factor on the gains of the manifest; None for 1.
            automatic_gain: feedback models: choose the largest gain up to 1 whose noise gain is
                within `max_noise_gain`.
            max_noise_gain: feedback models: a larger noise gain is refused; None for the server's.
            ttl: seconds without a call after which the session is forgotten; None for the
                server's.
            priority: of its calls among those of the tenant.
            timeout: seconds that each call may take in all; None for the client's.

        Raises:
            TypeError: an input is not an array of numbers.
            ValueError: an argument is out of its range.
            InvalidRequest: the model cannot take this, or its noise gain would be too large.
            NotFound: no such model or version.
            Overloaded: sessions take all the memory they may, over all retries.

        Example:
            >>> with client.session("spiral-feedback", {"x": x0}, automatic_gain=True) as session:
            ...     session.observe(0.01, {"x": x1})
            ...     forecast = session.predict([0.1, 0.5])
        """
        manner = self._manner(priority, timeout)
        call = build_open(
            model,
            inputs,
            manner,
            parameters=parameters,
            t=t,
            version=version,
            horizon_steps=horizon_steps,
            gain=gain,
            automatic_gain=automatic_gain,
            max_noise_gain=max_noise_gain,
            ttl_s=ttl,
        )
        return self._session(call, manner)

    def restore_session(
        self, snapshot: bytes, *, priority: Priority = "normal", timeout: float | None = None
    ) -> Session:
        """A session that begins where a snapshot was taken, here or on another server of the model.

        Raises:
            InvalidRequest: not a snapshot of a session of the model.
        """
        manner = self._manner(priority, timeout)
        return self._session(build_restore(snapshot, manner), manner)

    def attach_session(
        self, session_id: str, *, priority: Priority = "normal", timeout: float | None = None
    ) -> Session:
        """A handle on a session that there is, perhaps opened by another process.

        Raises:
            NotFound: no such session, or it was closed or forgotten.
        """
        manner = self._manner(priority, timeout)
        return self._session(build_get(check_name("session_id", session_id), manner), manner)

    def close(self) -> None:
        """Release the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _session(self, call: Call, manner: Manner) -> Session:
        info = read_session(self._send(call))
        return Session(info, send=self._send, manner=manner)

    def _manner(self, priority: Priority, timeout: float | None) -> Manner:
        timeout_s = self._defaults.timeout_s if timeout is None else check_timeout(timeout)
        return Manner(self._defaults.tenant, priority, timeout_s)
