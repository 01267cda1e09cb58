"""Certificates are the same through every door of a real server, and refused by the same names."""

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from certify_models import hard, write_certify_models
from certisolve import (
    AsyncClient,
    Cancelled,
    Certificate,
    Client,
    Improvement,
    InvalidRequest,
    NotFound,
)
from certisolve_server.bench import LocalServer, local_server
from helpers import Pointwise, field_manifest, write_artifact

CENTER = np.linspace(0.1, 0.9, 16)
BALL: dict[str, Any] = {"center": {"u0": CENTER}, "radius": 0.1, "norm": "linf", "budget_s": 5}
BODY = {"domain": {"center": {"u0": CENTER.tolist()}, "radius": 0.1, "norm": "linf"}, "budget_s": 5}

#: Functions that have no certificate on any set: the code, the operator and the node.
REFUSED_BY_NAME: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    # So few are dropped that the answers are those that were recorded.
    "dropout": (
        lambda u: nn.functional.dropout(torch.tanh(u), 1e-9, training=True),
        "unsupported_operator",
        "aten.dropout.default at node 'dropout'",
    ),
    "power": (
        lambda u: torch.sigmoid(u) ** 0.3,
        "unsupported_operator",
        "aten.pow.Tensor_Scalar at node 'pow_1'",
    ),
    "digamma": (
        lambda u: torch.digamma(u + 1),
        "unsupported_operator",
        "aten.digamma.default at node 'digamma'",
    ),
    "floor": (torch.floor, "possibly_discontinuous", "aten.floor.default at node 'floor'"),
}


@pytest.fixture(scope="module")
def hard_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A running server of `certify_models`."""
    root = tmp_path_factory.mktemp("certify-models")
    write_certify_models(root)
    for name, (function, *_) in REFUSED_BY_NAME.items():
        write_artifact(root, Pointwise(function), field_manifest(name))
    with local_server(root) as running:
        yield running


def sync_door(url: str, model: str, **question: Any) -> Certificate:
    with Client(url, timeout=60) as client:
        return client.certify(model, **question)


def async_door(url: str, model: str, **question: Any) -> Certificate:
    async def ask() -> Certificate:
        async with AsyncClient(url, timeout=60) as client:
            return await client.certify(model, **question)

    return asyncio.run(ask())


def job_door(url: str, model: str, **question: Any) -> Certificate:
    with Client(url, timeout=60) as client:
        return client.submit_certify(model, **question).wait(60)


def stream_door(url: str, model: str, **question: Any) -> Certificate:
    with Client(url, timeout=60) as client:
        told = list(client.certify_stream(model, **question))
    assert [each.status == "improving" for each in told] == [True] * (len(told) - 1) + [False]
    return told[-1]


DOORS: dict[str, tuple[str, Callable[..., Certificate]]] = {
    f"{scheme}-{name}": (scheme, door)
    for scheme in ("http", "grpc")
    for name, door in {
        "sync": sync_door, "async": async_door, "job": job_door, "stream": stream_door,
    }.items()
}  # fmt: skip
every_door = pytest.mark.parametrize("door", DOORS)


def through(door: str, server: LocalServer, model: str, **question: Any) -> Certificate:
    scheme, ask = DOORS[door]
    return ask(server.url(scheme), model, **question)


def post(
    server: LocalServer, body: object, model: str = "double", **headers: str
) -> httpx.Response:
    url = f"{server.http}/v1/models/{model}/certify"
    return httpx.post(url, json=body, headers=headers, timeout=60)


@every_door
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_doubling_is_certified_to_double(door, norm, server: LocalServer):
    found = through(door, server, "double", **{**BALL, "norm": norm})
    assert found.status == "certified"
    assert 2.0 <= found.upper <= 2.0 * 1.001
    assert 2.0 * 0.999 <= found.lower <= 2.0
    assert found.norms["input"] == found.norms["output"] == norm
    assert found.witness is not None
    distance = np.abs(found.witness.x["u0"] - CENTER).max()
    assert distance <= 0.1 + 1e-12
    np.testing.assert_array_equal(found.domain["center"]["u0"], CENTER)
    assert (found.model.name, found.model.version) == ("double", "1")
    assert found.document["evidence"] is not None
    assert found.history[-1].upper == found.upper


@every_door
def test_a_box_everything_one_value_and_scales_are_taken(door, server: LocalServer):
    box = {"lower": {"u0": CENTER - 1}, "upper": {"u0": CENTER + 1}, "budget_s": 5}
    assert through(door, server, "double", **box).upper == pytest.approx(2.0, rel=1e-3)
    everything = through(door, server, "double", domain="global", budget_s=5)
    assert everything.upper == pytest.approx(2.0, rel=1e-3)
    assert everything.domain == "global"
    one = through(door, server, "double", **BALL, component=3, input_scale={"u0": 4.0})
    assert one.upper == pytest.approx(8.0, rel=1e-3)
    kept = through(
        door, server, "product", center={"x": [0.5]}, radius=0.1, inputs={"y": [0.25]}, budget_s=5
    )
    assert kept.upper == pytest.approx(0.25, rel=1e-3)


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "an unknown model": ("nope", BALL, NotFound, "model"),
    "an unknown version": ("double", {**BALL, "version": "7"}, NotFound, "version"),
    "an unknown input": ("double", {**BALL, "inputs": {"v": [1.0]}}, InvalidRequest, "inputs.v"),
    "NaN": (
        "double",
        {**BALL, "center": {"u0": np.full(16, np.nan)}},
        InvalidRequest,
        "domain.center.u0",
    ),
    "a grid": ("double", {**BALL, "center": {"u0": [1.0]}}, InvalidRequest, "domain"),
    "steps of a map": ("double", {**BALL, "steps": 2}, InvalidRequest, "steps"),
    "a long search": ("double", {**BALL, "budget_s": 1e4}, InvalidRequest, "budget_s"),
    "a parameter": (
        "scale", {**BALL, "parameters": {"gain": 99.0}}, InvalidRequest, "parameters.gain",
    ),
    # Quoted as far as headers can carry it.
    "an endless name": (
        "double",
        {**BALL, "inputs": {"é" * 20_000: [1.0]}},
        InvalidRequest,
        "inputs." + "é" * 124 + "…",
    ),
    "an endless version": ("double", {**BALL, "version": "q" * 20_000}, NotFound, "version"),
    "no such output": ("double", {**BALL, "output": "w"}, InvalidRequest, "output"),
}  # fmt: skip


@every_door
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_by_its_field(door, case, server: LocalServer):
    model, question, error, field = REFUSED[case]
    with pytest.raises(error) as raised:
        through(door, server, model, **question)
    assert raised.value.field == field


@every_door
@pytest.mark.parametrize("model", REFUSED_BY_NAME)
@pytest.mark.parametrize("question", [BALL, {"domain": "global"}], ids=["ball", "global"])
def test_a_model_that_no_set_has_a_bound_of_is_refused_by_its_operator(
    door, model, question, hard_server: LocalServer
):
    _, code, named = REFUSED_BY_NAME[model]
    with pytest.raises(InvalidRequest, match="aten") as raised:
        through(door, hard_server, model, **question)
    assert raised.value.code == code
    assert named in raised.value.detail


def test_the_problem_of_a_refused_model_is_the_same_in_events_and_results(hard_server: LocalServer):
    accepted = post(hard_server, {"domain": "global"}, "dropout", prefer="respond-async")
    where = f"{hard_server.http}{accepted.headers['Location']}"
    done = httpx.get(where, params={"wait_s": 30}, timeout=60).json()
    refused = post(hard_server, {"domain": "global"}, "dropout")
    assert refused.status_code == done["problem"]["status"] == 422
    assert done["status"] == "failed"
    told = httpx.get(f"{where}/events", timeout=60).text
    for said in (done["problem"], json.loads(told.split("event: failed\ndata: ")[1])["problem"]):
        assert {said[key] for key in ("code", "detail")} == {
            refused.json()[key] for key in ("code", "detail")
        }


def test_a_map_that_leaves_its_domain_has_no_bound_and_says_why(server: LocalServer):
    domain = {"lower": {"u0": [-1.0] * 16}, "upper": {"u0": [1.0] * 16}}
    said = post(server, BODY | {"domain": domain}, "log").json()
    assert said["upper"] is None
    assert said["status"] == "unbounded"
    assert said["reason"]


def test_what_is_prepared_for_one_set_serves_another(server: LocalServer):
    for radius in (0.1, 0.2, 0.3):
        domain = BODY["domain"] | {"radius": radius}
        found = post(server, BODY | {"domain": domain}).json()
        assert found["domain"]["radius"] == found["error_amplification"]["radius"] == radius
        assert found["error_amplification"]["output_change"] >= 2 * radius


def test_a_job_is_preferred_followed_and_fetched(server: LocalServer):
    accepted = post(server, BODY | {"seed": 1}, prefer="respond-async")
    assert accepted.status_code == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    where = accepted.headers["Location"]
    done = httpx.get(f"{server.http}{where}", params={"wait_s": 30}, timeout=60).json()
    assert done["status"] == "succeeded"
    assert done["result"]["upper"] == pytest.approx(2.0, rel=1e-3)
    events = httpx.get(f"{server.http}{where}/events", timeout=60).text
    assert "event: succeeded" in events


def test_a_search_longer_than_the_wait_is_a_job_at_once(server: LocalServer):
    body = BODY | {"budget_s": 30, "gap": 1.0}
    accepted = post(server, body, prefer="wait=1")
    assert accepted.status_code == 202
    httpx.delete(f"{server.http}{accepted.headers['Location']}", timeout=60)


def test_the_same_key_is_the_same_job(server: LocalServer):
    headers = {"idempotency-key": "certify-once", "prefer": "respond-async"}
    one, other = (post(server, BODY, **headers) for _ in range(2))
    assert one.json()["id"] == other.json()["id"]
    assert post(server, BODY | {"seed": 9}, **headers).status_code == 409


def test_bounds_that_get_better_are_events(hard_server: LocalServer):
    question = hard(budget_s=8.0)
    with Client(hard_server.http, timeout=60) as client:
        job = client.submit_certify("network", **question)
        seen: list[Improvement] = []
        with contextlib.closing(job.events()) as events:
            seen = [info.bounds for info in events if info.bounds is not None]
        found = job.wait(60)
    assert seen, "no bound was told while the search went on"
    assert all(one.upper >= other.upper for one, other in itertools.pairwise(seen))
    assert seen[-1].upper >= found.upper


def test_an_event_carries_the_certificate_without_its_evidence(hard_server: LocalServer):
    with Client(hard_server.http, timeout=60) as client:
        job = client.submit_certify("network", **hard(0.9, budget_s=8.0))
        url = f"{hard_server.http}/v1/jobs/{job.id}/events"
        with httpx.stream("GET", url, timeout=60) as reply:
            lines = reply.iter_lines()
            next(line for line in lines if line == "event: bound")
            data = json.loads(next(lines).removeprefix("data: "))
        job.cancel()
    assert data["status"] == "running"
    assert data["certificate"]["status"] == "improving"
    assert data["certificate"]["evidence"] is None


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_cancelling_ends_a_search_at_once(scheme, hard_server: LocalServer):
    with Client(hard_server.url(scheme), timeout=60) as client:
        job = client.submit_certify("network", **hard(0.8, budget_s=120.0))
        next(info for info in job.events() if info.status == "running")
        job.cancel()
        with pytest.raises(Cancelled):
            job.wait(10)
        # The one process is free again.
        assert client.certify("double", **BALL).upper < np.inf


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_interrupting_a_stream_ends_its_search(scheme, hard_server: LocalServer):
    question = hard(0.6, budget_s=120.0)
    with Client(hard_server.url(scheme), timeout=60) as client:
        told = client.certify_stream("network", **question)
        next(told)
        with pytest.raises(KeyboardInterrupt):
            told.throw(KeyboardInterrupt())
        assert client.certify("double", **BALL).upper < np.inf


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_cancelling_a_task_ends_its_search(scheme, hard_server: LocalServer):
    async def ask() -> Certificate:
        async with AsyncClient(hard_server.url(scheme), timeout=60) as client:
            first = asyncio.Event()

            async def follow() -> None:
                async for _ in client.certify_stream("network", **hard(0.5, budget_s=120.0)):
                    first.set()

            following = asyncio.create_task(follow())
            await asyncio.wait_for(first.wait(), 60)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            return await client.certify("double", **BALL)

    assert asyncio.run(ask()).upper < np.inf


def test_two_clients_at_once_are_both_answered(server: LocalServer):
    found: dict[int, Certificate] = {}

    def ask(index: int) -> None:
        found[index] = sync_door(server.http, "double", **{**BALL, "radius": 0.11 + index})

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {index: each.domain["radius"] for index, each in found.items()} == {0: 0.11, 1: 1.11}


def test_solves_are_answered_while_a_search_goes_on(hard_server: LocalServer):
    with Client(hard_server.http, timeout=60) as client:
        job = client.submit_certify("network", **hard(0.7, budget_s=60.0))
        next(info for info in job.events() if info.status == "running")
        for _ in range(50):
            client.solve("double", {"u0": CENTER})
        assert job.status() == "running"
        job.cancel()


def test_the_description_of_the_interface_has_it(server: LocalServer):
    schema = httpx.get(f"{server.http}/openapi.json", timeout=60).json()
    operation = schema["paths"]["/v1/models/{model}/certify"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["examples"]["a ball"]["value"]
    reply = post(server, {**example, "domain": BODY["domain"]})
    said = schema["components"]["schemas"]["CertificateReply"]
    assert reply.json().keys() == said["properties"].keys()
