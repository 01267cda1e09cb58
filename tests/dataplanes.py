"""A data plane on a real queue in memory, and a worker that tests drive by hand."""

from collections.abc import Sequence

import numpy as np

from certisolve_server.broker import MemoryBroker
from certisolve_server.broker.base import Bounds, Capacity, Claim
from certisolve_server.catalog import Catalog, ModelEntry
from certisolve_server.dataplane import DataPlane, Limits
from certisolve_server.jobs import Artifact, Outcome, SolveRequest, Terms, Timings
from certisolve_server.telemetry import Metrics
from helpers import field_manifest

FIELD = np.linspace(0, 1, 16, dtype=np.float32)
ARTIFACT = Artifact(field_manifest("double"), "d1", "/models/double")


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


class Plane:
    """Everything around a data plane that serves the model `double`.

    Arguments:
        broker: the queue; None for one in memory.
        catalog: the models; None for `double` alone.
        max_wait_s: the wait budget.
        max_body_bytes: of a request's inputs.
        options: of `DataPlane`.
    """

    def __init__(
        self, broker=None, *, catalog=None, max_wait_s=20.0, max_body_bytes=1 << 24, **options
    ):
        self.catalog = catalog if catalog is not None else _catalog()
        self.broker = broker or MemoryBroker(Bounds())
        self.metrics = Metrics()
        limits = Limits(max_body_bytes=max_body_bytes, max_wait_s=max_wait_s)
        self.dataplane = DataPlane(self.catalog, self.broker, limits, self.metrics, **options)

    def metric(self, name: str) -> float:
        """A sample of the metrics by name and labels; 0 when there is none."""
        lines = self.metrics.render(None).decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)


def request(field=FIELD, *, model="double", version=None, parameters=None, **terms):
    """A solve of `double` on these terms."""
    return SolveRequest(
        model=model,
        version=version,
        inputs={"u0": field},
        parameters=parameters or {},
        terms=Terms(**terms),
    )


async def claim(broker, *, start: bool = True) -> Sequence[Claim]:
    """The next jobs in line, as a worker that serves `double` takes them."""
    return await broker.claim(Capacity({ARTIFACT.key: 64}), start=start)


async def answer(broker, claims: Sequence[Claim]) -> None:
    """Double the inputs of claimed jobs."""
    await broker.complete([(held, _outcome(held)) for held in claims])


async def work_once(broker) -> Sequence[Claim]:
    """Claim and answer; waits until there is something."""
    claims = await claim(broker)
    await answer(broker, claims)
    return claims


def _catalog() -> Catalog:
    catalog = Catalog()
    catalog.put(ModelEntry(ARTIFACT, ready=True))
    return catalog


def _outcome(held: Claim) -> Outcome:
    [u0] = held.job.inputs
    return Outcome(
        model=held.job.model,
        outputs=(2 * u0,),
        finite=True,
        timings=Timings(1.0, 1.0, 1.0),
        batch_size=1,
        context=held.job.context,
    )
