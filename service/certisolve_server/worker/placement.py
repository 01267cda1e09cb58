"""Which models a worker has loaded, and how many of their jobs it can batch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from certisolve.wire import DTYPES
from certisolve_server.broker import Capacity
from certisolve_server.engines import LoadedEngine, SteppingEngine
from certisolve_server.jobs import Lane, ModelKey


class Alone(NamedTuple):
    """The lane of a suspect: nothing shares a batch with it."""

    lane: Lane
    job_id: str


Place = Lane | Alone


def lane_of(place: Place) -> Lane:
    """The lane of a place."""
    return place.lane if isinstance(place, Alone) else place


class Placement:
    """The loaded engines."""

    def __init__(self) -> None:
        self._engines: dict[ModelKey, LoadedEngine] = {}
        self._capacity = Capacity({})

    def put(self, loaded: LoadedEngine) -> None:
        """Serve an engine, instead of one of the same key."""
        self._engines[loaded.engine.artifact.key] = loaded
        self._measure()

    def remove(self, key: ModelKey) -> None:
        """Serve a model no more; it may not be loaded."""
        self._engines.pop(key, None)
        self._measure()

    def __contains__(self, key: ModelKey) -> bool:
        return key in self._engines

    def __iter__(self) -> Iterator[ModelKey]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def __getitem__(self, key: ModelKey) -> LoadedEngine:
        return self._engines[key]

    def steps(self, lane: Lane) -> bool:
        """Whether jobs of a lane are answered step by step."""
        engine = self._engines[lane.model].engine
        return isinstance(engine, SteppingEngine) and lane.kind == "solve"

    def max_batch_size(self, place: Place) -> int:
        """Most jobs of a lane in one forward pass, or step by step beside each other."""
        if isinstance(place, Alone) or place.kind != "solve":
            return 1
        return _limit(self._engines[place.model], place)

    def batch_sizes(self, place: Place) -> Sequence[int]:
        """The allowed ones of a lane whose jobs are answered step by step, ascending."""
        if isinstance(place, Alone):
            return (1,)
        return self._engines[place.model].batch_sizes(place)

    def capacity(self, waiting: Mapping[Place, int]) -> Capacity:
        """What a whole batch takes, less what waits for it already."""
        if not waiting:
            return self._capacity
        rest = {
            place: max(0, self.max_batch_size(place) - count)
            for place, count in waiting.items()
            if isinstance(place, Lane)
        }
        return Capacity(self._capacity.models, {**self._capacity.lanes, **rest})

    def num_batches(self, waiting: Mapping[Place, int]) -> float:
        """How many batches the waiting jobs fill."""
        return sum(count / self.max_batch_size(place) for place, count in waiting.items())

    def _measure(self) -> None:
        lanes = {
            lane: limit for loaded in self._engines.values() for lane, limit in _limits(loaded)
        }
        models = {key: _largest(loaded) for key, loaded in self._engines.items()}
        self._capacity = Capacity(models, lanes)


def _limits(loaded: LoadedEngine) -> Iterator[tuple[Lane, int]]:
    artifact = loaded.engine.artifact
    dtypes = tuple(DTYPES[spec.dtype].str for spec in artifact.manifest.inputs)
    for shapes in loaded.paces:
        lane = Lane(artifact.key, shapes, dtypes)
        yield lane, _limit(loaded, lane)


def _limit(loaded: LoadedEngine, lane: Lane) -> int:
    if isinstance(loaded.engine, SteppingEngine):
        return loaded.batch_sizes(lane)[-1]
    return loaded.pace(lane.shapes).max_batch_size


def _largest(loaded: LoadedEngine) -> int:
    limits = [limit for _, limit in _limits(loaded)]
    return max(limits, default=loaded.engine.artifact.manifest.max_batch_size)
