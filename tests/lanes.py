"""A lane as a worker serves it: plans of a batcher, carried out in a bank one step at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from certisolve_server.batching import ContinuousBatcher, SlotStatus, SteppingRequest
from certisolve_server.engines import Ended, SteppingEngine
from certisolve_server.jobs import SolveJob


def serve(
    engine: SteppingEngine,
    jobs: Sequence[SolveJob],
    arrivals: Sequence[int],
    *,
    num_slots: int,
    cancellations: Mapping[int, int] | None = None,
) -> list[Ended | None]:
    """What jobs come to; None for those that are cancelled.

    Args:
        engine: of their model.
        jobs: of one lane.
        arrivals: number of the step before which each of them comes.
        num_slots: of the lane.
        cancellations: number of the step before which a job is cancelled, by its index.
    """
    batcher = ContinuousBatcher(lambda lane: range(1, num_slots + 1), budget_bytes=1 << 40)
    bank, ended = engine.open_bank(), dict[str, Ended]()
    waiting = {str(index): replace(job, id=str(index)) for index, job in enumerate(jobs)}
    owners: list[str] = []
    step = 0
    while len(batcher) or owners or step <= max(arrivals):
        for index, arrival in enumerate(arrivals):
            if arrival == step:
                size = engine.state_bytes(jobs[index].lane)
                batcher.add(SteppingRequest(str(index), "lane", size))
            if (cancellations or {}).get(index) == step:
                batcher.cancel(str(index))
        step += 1
        plan = batcher.next_plan()
        if plan is None:
            continue
        joins = [(waiting[request_id], slot) for request_id, slot in plan.joins]
        bank.lay_out(plan.leaves, plan.moves, joins)
        kept = dict(enumerate(owners))
        kept |= {target: owners[source] for source, target in plan.moves}
        kept |= {slot: request_id for request_id, slot in plan.joins}
        owners = [kept[slot] for slot in range(plan.num_slots)]
        if not plan.slots:
            batcher.advance(plan, [], 0.0)
            continue
        try:
            run = bank.run(plan.slots, plan.batch_size, interrupted=lambda: True, max_s=1.0)
        except Exception as error:
            for end in batcher.fail(plan, 1e-3):
                ended[end.request.id] = Ended(error=error)
            continue
        assert run.num_steps <= 1
        came_to = {owners[slot]: what for slot, what in run.ended}
        statuses = [
            SlotStatus.FINISHED if owners[slot] in came_to else SlotStatus.RUNNING
            for slot in plan.slots
        ]
        for end in batcher.advance(plan, statuses, 1e-3):
            ended[end.request.id] = came_to[end.request.id]
    return [ended.get(str(index)) for index in range(len(jobs))]
