"""What the processes around one queue know of each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from certisolve_server.jobs import ModelKey


@dataclass(frozen=True, slots=True)
class Placement:
    """A model on a worker.

    Attributes:
        ready: loaded and proved.
        fault: why it never will be; empty while there is hope.
    """

    model: ModelKey
    ready: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """How a worker introduces itself, again and again while it lives.

    Attributes:
        name: unlike any other's that is alive.
        device: `cpu`, `cuda:0`.
        grpc: host:port at which others reach its services.
        host: names the machine whose shared memory it reads; empty when it reads none.
        state: `starting`, `serving` or `draining`.
        placements: what it has loaded, or tried to.
    """

    name: str
    device: str
    grpc: str
    host: str
    state: str
    placements: tuple[Placement, ...]

    def to_json(self) -> bytes:
        """For others of this release and the next."""
        placements = [
            {"model": tuple(p.model), "ready": p.ready, "fault": p.fault} for p in self.placements
        ]
        return orjson.dumps(
            {
                "name": self.name,
                "device": self.device,
                "grpc": self.grpc,
                "host": self.host,
                "state": self.state,
                "placements": placements,
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> "WorkerCard":
        """The card that `to_json` wrote."""
        values = orjson.loads(text)
        placements = (
            Placement(ModelKey(*p["model"]), p["ready"], p["fault"]) for p in values["placements"]
        )
        return cls(
            name=values["name"],
            device=values["device"],
            grpc=values["grpc"],
            host=values["host"],
            state=values["state"],
            placements=tuple(placements),
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one queue, and the models they serve or served lately.

    Attributes:
        workers: alive.
        manifests: JSON by digest, of every artifact announced within the last day.
    """

    workers: tuple[WorkerCard, ...]
    manifests: Mapping[str, str]
