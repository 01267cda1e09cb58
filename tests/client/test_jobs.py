"""Work in the background: its terms, its changes and its end, through every door."""

import asyncio
import contextlib
import gc
import threading
import time

import numpy as np
import pytest

from certisolve import (
    AsyncClient,
    Client,
    ConnectionFailed,
    HttpTransport,
    IdempotencyConflict,
    InvalidReply,
    JobInfo,
    JobStatus,
    MockTransport,
    NotFound,
    Reply,
    RequestTimeout,
    RetryPolicy,
    Transport,
    Unavailable,
)

from .servers import Refused
from .test_http import answer, hang_up, open_on, response

U0 = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
ONCE = RetryPolicy(max_attempts=1)


def submit(client, backend):
    """A job of the client's and the same job on the server."""
    job = client.submit_solve("double", {"u0": U0})
    return job, backend.jobs[job.id]


# Terms


def test_tenant_priority_and_key_reach_the_server(door, url, backend):
    with door.open(url, tenant="team-7") as client:
        client.solve("double", {"u0": U0}, priority="high", idempotency_key="a key")
        client.submit_solve("double", {"u0": U0}, priority="low", idempotency_key="k" * 255)
    solve, submission = backend.requests
    assert (solve.tenant, solve.priority, solve.idempotency_key) == ("team-7", "high", "a key")
    assert (submission.tenant, submission.priority) == ("team-7", "low")
    assert submission.idempotency_key == "k" * 255


def test_terms_that_nobody_named_are_left_to_the_server(client, backend):
    client.solve("double", {"u0": U0})
    (request,) = backend.requests
    assert (request.tenant, request.priority, request.idempotency_key) == (None, None, None)


def test_a_job_may_outlast_its_submission(client, backend):
    client.submit_solve("double", {"u0": U0}, timeout=1.0)
    assert backend.requests[0].deadline_s is None


def test_one_key_is_one_job(client, backend):
    first, second = (
        client.submit_solve("double", {"u0": U0}, idempotency_key="k") for _ in range(2)
    )
    assert first.id == second.id
    assert len(backend.requests) == 2


def test_a_submission_without_a_key_gets_a_random_one(client, backend):
    first, second = (client.submit_solve("double", {"u0": U0}) for _ in range(2))
    assert first.id != second.id
    assert all(len(request.idempotency_key) == 32 for request in backend.requests)


def test_a_key_used_for_another_request_is_a_conflict(client, backend):
    backend.refusals = [Refused("idempotency_conflict")]
    with pytest.raises(IdempotencyConflict) as caught:
        client.submit_solve("double", {"u0": U0}, idempotency_key="k")
    assert caught.value.status == 409
    assert len(backend.requests) == 1


def test_a_queue_out_of_reach_is_waited_for(client, backend, clock):
    backend.refusals = [Refused("queue_unavailable", retry_after_s=1.0)]
    client.solve("double", {"u0": U0})
    assert clock.naps[0] > 1.0


@pytest.mark.parametrize("key", ["", "k" * 256, "é", "a\nb", " a", "a "])
def test_a_key_that_cannot_travel_is_refused_by_name(key):
    client = Client("http://unused", transport=MockTransport(lambda call: Reply({}, {})))
    with pytest.raises(ValueError, match="idempotency_key"):
        client.submit_solve("m", {"u0": U0}, idempotency_key=key)


@pytest.mark.parametrize("tenant", ["", "a b", "t" * 65, "ä", "a\n"])
def test_a_tenant_that_cannot_travel_is_refused_by_name(tenant):
    with pytest.raises(ValueError, match="tenant"):
        Client("http://unused", tenant=tenant)
    with pytest.raises(ValueError, match="tenant"):
        AsyncClient("http://unused", tenant=tenant)


def test_an_unknown_priority_is_refused_by_name():
    client = Client("http://unused", transport=MockTransport(lambda call: Reply({}, {})))
    with pytest.raises(ValueError, match="priority"):
        client.solve("m", {"u0": U0}, priority="urgent")


# State


def test_a_queued_job_says_how_many_go_first(client, backend):
    job = client.submit_solve("double", {"u0": U0})
    assert job.state() == JobInfo(job.id, JobStatus.QUEUED, 3, 1.5, 0.0)


def test_a_running_job_says_how_far_it_is(client, backend):
    job, served = submit(client, backend)
    served.move("running", progress=0.25)
    assert job.state() == JobInfo(job.id, JobStatus.RUNNING, None, None, 0.25)


def test_an_older_server_says_less():
    body = {"id": "j", "status": "succeeded"}
    transport = MockTransport(lambda call: Reply({}, body))
    assert Client("http://unused", transport=transport).job("j").state() == JobInfo(
        "j", JobStatus.SUCCEEDED, None, None, 1.0
    )


@pytest.mark.parametrize("nonsense", [{"position": "x"}, {"progress": "half"}, {"status": "lost"}])
def test_a_state_that_makes_no_sense_is_an_invalid_reply(nonsense):
    body = {"id": "j", "status": "queued"} | nonsense
    transport = MockTransport(lambda call: Reply({}, body))
    with pytest.raises(InvalidReply):
        Client("http://unused", transport=transport).job("j").state()


# Events


def test_events_tell_every_change_until_the_end(client, backend):
    job, served = submit(client, backend)
    events = job.events()
    assert next(events) == JobInfo(job.id, JobStatus.QUEUED, 3, 1.5, 0.0)
    served.move("queued", position=0)
    assert next(events).position == 0
    served.move("running", progress=0.5)
    assert next(events) == JobInfo(job.id, JobStatus.RUNNING, None, None, 0.5)
    served.end("succeeded")
    assert [info.status for info in events] == ["succeeded"]
    assert job.wait().status == "ok"


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_events_of_an_ended_job_are_its_end(client, backend, end):
    job, served = submit(client, backend)
    served.end(end)
    assert [info.status for info in job.events()] == [end]


def test_events_of_an_unknown_job_are_not_found(client):
    with pytest.raises(NotFound, match="unknown_job"):
        next(client.job("nowhere").events())


def test_leaving_early_closes_the_stream(client, backend):
    job, _ = submit(client, backend)
    for info in job.events():
        assert not info.status.ended
        break
    gc.collect()
    assert backend.closed_streams.acquire(timeout=5)


def test_a_broken_stream_goes_on_where_it_broke(client, backend, clock):
    job, served = submit(client, backend)
    backend.cuts = [1, 1]
    events = job.events()
    assert next(events).position == 3
    served.move("running")
    assert next(events).status == "running"
    served.end("succeeded")
    assert [info.status for info in events] == ["succeeded"]
    assert backend.num_streams >= 2
    assert clock.naps


def test_what_did_not_change_while_the_stream_was_broken_is_not_repeated(client, backend):
    job, served = submit(client, backend)
    backend.cuts = [1] * 5
    threading.Timer(0.2, served.end, ["succeeded"]).start()
    assert [info.status for info in job.events()] == ["queued", "succeeded"]
    assert backend.num_streams > 5


def test_a_stream_that_cannot_be_opened_again_is_reported(client, backend, clock):
    job, _ = submit(client, backend)
    backend.cuts = [1]
    events = job.events()
    next(events)
    # Forgotten by a server that was restarted without its queue.
    backend.jobs.clear()
    with pytest.raises(NotFound):
        next(events)


def test_a_policy_of_one_attempt_reports_the_first_break(door, url, backend):
    with door.open(url, retry=ONCE) as client:
        job, _ = submit(client, backend)
        backend.cuts = [1]
        events = job.events()
        next(events)
        with pytest.raises(ConnectionFailed):
            next(events)


def test_a_silent_job_outlasts_the_clients_timeout(door, url, backend):
    with door.open(url, timeout=0.2, retry=ONCE) as client:
        job, served = submit(client, backend)
        threading.Timer(0.7, served.end, ["succeeded"]).start()
        assert [info.status for info in job.events()] == ["queued", "succeeded"]
        assert backend.num_streams > 2


def test_many_streams_of_one_client_run_at_once(client, backend):
    jobs = [client.submit_solve("double", {"u0": U0}) for _ in range(4)]
    streams = [job.events() for job in jobs]
    assert [next(stream).id for stream in streams] == [job.id for job in jobs]
    for job in jobs:
        backend.jobs[job.id].end("succeeded")
    assert [next(stream).status for stream in streams] == ["succeeded"] * 4
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_asynchronous_loop_that_is_left_closes_its_stream(servers, backend, scheme):
    async def peek():
        async with AsyncClient(servers[1][scheme]) as client:
            job = await client.submit_solve("double", {"u0": U0})
            async for info in job.events():
                assert info.status == "queued"
                break
            closed = await asyncio.to_thread(backend.closed_streams.acquire, timeout=5)
            assert closed
            async with contextlib.aclosing(job.events()) as events:
                assert (await anext(events)).status == "queued"

    asyncio.run(peek())


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_watching_does_not_hold_up_the_event_loop(servers, backend, scheme):
    async def watch_two():
        async with AsyncClient(servers[1][scheme]) as client:
            jobs = [await client.submit_solve("double", {"u0": U0}) for _ in range(2)]

            async def last(job):
                return [info.status async for info in job.events()][-1]

            async with asyncio.TaskGroup() as tasks:
                watched = [tasks.create_task(last(job)) for job in jobs]
                for job in jobs:
                    await job.cancel()
            return [task.result() for task in watched]

    assert asyncio.run(watch_two()) == ["cancelled", "cancelled"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_task_that_watches_can_be_cancelled(servers, backend, scheme):
    async def watch():
        async with AsyncClient(servers[1][scheme]) as client:
            job = await client.submit_solve("double", {"u0": U0})
            async with asyncio.timeout(0.2):
                async for _ in job.events():
                    pass

    with pytest.raises(TimeoutError):
        asyncio.run(watch())
    assert backend.closed_streams.acquire(timeout=5)


def test_a_closed_client_streams_nothing(door, url, backend):
    with door.open(url) as client:
        job = client.submit_solve("double", {"u0": U0})
        (client.aclose if door.asynchronous else client.close)()
        with pytest.raises(RuntimeError, match="closed"):
            next(job.events())


# Events over HTTP


def event_stream(*events):
    # Said to be the last on its connection, so that whether one opened again finds it closed
    # already is not a matter of chance.
    body = b"".join(events)
    return response("200 OK", body, "text/event-stream; charset=utf-8", Connection="close")


def event(name, status, **more):
    body = ", ".join(
        [f'"id": "j", "status": "{status}"', *(f'"{k}": {v}' for k, v in more.items())]
    )
    return f"event: {name}\r\ndata: {{{body}}}\r\n\r\n".encode()


def test_a_stream_that_ends_before_the_job_is_opened_again(http_door, clock):
    first = event_stream(event("status", "queued"))
    last = event_stream(event("status", "queued"), event("succeeded", "succeeded"))
    with open_on(
        http_door, lambda c: c.sendall(first), hang_up, lambda c: c.sendall(last), clock=clock
    ) as client:
        assert [info.status for info in client.job("j").events()] == ["queued", "succeeded"]
    assert len(clock.naps) == 2


def test_a_stream_that_never_says_anything_is_given_up(http_door, clock):
    empty = [lambda c: c.sendall(event_stream(b": hello\n\n"))] * 4
    with (
        open_on(http_door, *empty, clock=clock) as client,
        # How the end looks is the network's business: a close, or a reset.
        pytest.raises(ConnectionFailed, match=r"before the job did|connection broke"),
    ):
        next(client.job("j").events())
    assert len(clock.naps) == 3


def test_the_servers_reason_for_breaking_off_is_told(http_door):
    problem = b'event: problem\ndata: {"code": "queue_unavailable", "detail": "no Redis"}\n\n'
    stream = event_stream(event("status", "queued"), problem)
    with open_on(http_door, lambda c: c.sendall(stream), retry=ONCE) as client:
        events = client.job("j").events()
        assert next(events).status == "queued"
        with pytest.raises(Unavailable, match="no Redis"):
            next(events)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{", id="no-json"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b'{"id": "j"}', id="no-status"),
    ],
)
def test_an_event_that_is_not_certisolves_says_so(http_door, data):
    stream = event_stream(b"event: status\ndata: " + data + b"\n\n")
    with (
        open_on(http_door, lambda c: c.sendall(stream)) as client,
        pytest.raises(InvalidReply),
    ):
        next(client.job("j").events())


def test_an_answer_that_is_no_stream_says_so(http_door):
    page = answer("200 OK", b'{"hello": 1}')
    with open_on(http_door, page) as client, pytest.raises(InvalidReply, match="events expected"):
        next(client.job("j").events())


def test_a_server_that_takes_the_call_and_stays_silent_is_noticed(http_door):
    done = threading.Event()
    with open_on(http_door, lambda c: done.wait(5), timeout=0.1) as client:
        with pytest.raises(RequestTimeout):
            next(client.job("j").events())
        done.set()


def test_a_server_that_only_sends_comments_is_noticed(http_door):
    done = threading.Event()

    def murmur(connection):
        head = response("200 OK", b"", "text/event-stream").replace(b"Content-Length: 0\r\n", b"")
        connection.sendall(head)
        while not done.wait(0.02):
            connection.sendall(b": still here\n\n")

    with open_on(http_door, murmur, timeout=0.2) as client:
        with pytest.raises(RequestTimeout):
            next(client.job("j").events())
        done.set()


# A solve that becomes a job


def test_a_solve_that_outlasts_the_servers_patience_is_answered_all_the_same(
    http_door, servers, backend
):
    with http_door.open(servers[1]["http"]) as client:
        threading.Timer(0.1, lambda: backend.jobs["job-0"].end("succeeded")).start()
        solution = client.solve("patient", {"u0": U0}, timeout=float("inf"))
    np.testing.assert_array_equal(solution.fields["u"], 2 * U0)
    assert backend.requests[0].deadline_s is None


def test_a_solve_that_became_a_job_keeps_the_callers_time(http_door, servers, backend):
    started_at = time.monotonic()
    with http_door.open(servers[1]["http"]) as client, pytest.raises(RequestTimeout):
        client.solve("patient", {"u0": U0}, timeout=0.3)
    assert 0.2 < time.monotonic() - started_at < 1.0


def test_a_solve_whose_job_fails_raises_its_problem(http_door, servers, backend):
    def fail_it():
        while "job-0" not in backend.jobs:
            time.sleep(0.01)
        backend.jobs["job-0"].end("failed")

    with http_door.open(servers[1]["http"]) as client:
        threading.Thread(target=fail_it).start()
        with pytest.raises(Exception, match="because of internal"):
            client.solve("patient", {"u0": U0})


def test_polls_for_a_solves_job_never_outlast_the_solve(clock):
    calls = []

    def keep_waiting(call):
        calls.append(call)
        clock.now += min(4.0, call.wait_s)
        return Reply({}, {"id": "j", "status": "running"})

    client = Client("http://unused", transport=MockTransport(keep_waiting), clock=clock)
    with pytest.raises(RequestTimeout, match="still running"):
        client.solve("m", {"u0": U0}, timeout=10.0)
    assert [call.timeout_s for call in calls] == [10.0, 10.0, 6.0, 2.0]
    assert [call.wait_s for call in calls[1:]] == [10.0, 6.0, 2.0]


# Transports of one's own


def test_streams_can_be_mocked(clock):
    def events(call):
        yield Reply({}, {"id": call.job_id, "status": "queued", "position": 1})
        yield Reply({}, {"id": call.job_id, "status": "succeeded"})

    transport = MockTransport(lambda call: Reply({}, {}), events)
    sync = Client("http://unused", transport=transport).job("j").events()
    assert [info.position for info in sync] == [1, None]

    async def collect():
        job = AsyncClient("http://unused", transport=transport).job("j")
        return [info.status async for info in job.events()]

    assert asyncio.run(collect()) == ["queued", "succeeded"]


def test_a_mocked_stream_without_a_script_gives_one_reply_at_a_time(clock):
    states = iter(["queued", "queued", "running", "succeeded"])
    transport = MockTransport(lambda call: Reply({}, {"id": "j", "status": next(states)}))
    job = Client("http://unused", transport=transport, clock=clock).job("j")
    assert [info.status for info in job.events()] == ["queued", "running", "succeeded"]


def test_a_transport_without_streams_says_so():
    class Plain(Transport):
        def send(self, call):
            return Reply({}, {})

    with pytest.raises(NotImplementedError, match="stream"):
        next(Client("http://unused", transport=Plain()).job("j").events())


def test_a_transport_of_http_can_be_passed_in(servers, backend):
    url = servers[1]["http"]
    with Client(url, transport=HttpTransport(url)) as client:
        job = client.submit_solve("double", {"u0": U0})
        backend.jobs[job.id].end("succeeded")
        assert [info.status for info in job.events()] == ["succeeded"]
