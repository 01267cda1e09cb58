"""How long jobs take, by lane."""

from collections.abc import Iterator

from certisolve_server.jobs import Lane, Pool

# What a job of a lane is taken to cost before one was measured.
_DEFAULT_COST_S = 1e-3
# Weight of the newest measurement in the running mean.
_NEWEST = 0.2
# Strangers choose the sizes of lanes; the records of idle ones are forgotten beyond this.
_MAX_IDLE = 1024


class LaneRecord:
    """What is known of a lane. Compared by identity, which is quicker than by shapes.

    Attributes:
        lane: whose record this is.
        num_jobs: accepted and not ended.
        measured_s: device seconds per job, a running mean; None before the first.
    """

    __slots__ = ("lane", "measured_s", "num_jobs")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.num_jobs = 0
        self.measured_s: float | None = None

    @property
    def cost_s(self) -> float:
        """Device seconds that a job is expected to take."""
        return _DEFAULT_COST_S if self.measured_s is None else self.measured_s

    def observe(self, job_s: float) -> None:
        """Learn from a job that took `job_s` seconds of the device."""
        known = job_s if self.measured_s is None else self.measured_s
        self.measured_s = known + _NEWEST * (job_s - known)


class LaneRecords:
    """One record per lane; those of lanes long idle are forgotten."""

    def __init__(self) -> None:
        self._records: dict[Lane, LaneRecord] = {}

    def of(self, lane: Lane) -> LaneRecord:
        """The record of a lane, the same object as long as the lane has jobs."""
        record = self._records.get(lane)
        if record is None:
            if len(self._records) >= 2 * _MAX_IDLE:
                self._forget()
            record = self._records[lane] = LaneRecord(lane)
        return record

    def expected_s(self, pool: Pool = "device") -> float:
        """Seconds that all accepted jobs of a pool will take."""
        return sum(record.num_jobs * record.cost_s for record in self._of(pool))

    def num_jobs(self, pool: Pool) -> int:
        """Accepted jobs of a pool that have not ended."""
        return sum(record.num_jobs for record in self._of(pool))

    def _of(self, pool: Pool) -> Iterator[LaneRecord]:
        return (record for record in self._records.values() if record.lane.pool == pool)

    def __iter__(self) -> Iterator[LaneRecord]:
        return iter(self._records.values())

    def _forget(self) -> None:
        idle = [record.lane for record in self if not record.num_jobs]
        for lane in idle[: max(0, len(idle) - _MAX_IDLE)]:
            del self._records[lane]
