"""`rollout` and `memory-rollout`: n steps, each on the results of the one before."""

from certisolve_server.certification.subjects.asked import Asked, Described, counted
from certisolve_server.certification.subjects.networks import STATE, network
from certisolve_server.certifier.dynamics.rollouts import Step, memory_rollout, rollout
from certisolve_server.errors import InvalidOption, OutOfRange

#: Copies of the step in one graph, which is made whatever the budget.
_MOST_STEPS = 512


def steps_of_a_rollout(asked: Asked) -> Described:
    """Inputs, or a history, to the frame after n steps."""
    manifest, steps = asked.manifest, asked.steps()
    assert manifest.stepping is not None
    if steps > _MOST_STEPS:
        field = "t" if asked.request.steps is None else "steps"
        raise OutOfRange(
            f"{counted(steps, 'step')}: {_MOST_STEPS} at most are certified together", field=field
        )
    fed = [spec.name for spec in manifest.outputs if spec.name in asked.inputs.varying]
    histories = [spec.name for spec in manifest.inputs if manifest.frame_axes(spec) != spec.axes]
    if len(histories) > 1 or any(spec.name in asked.inputs.frozen for spec in manifest.outputs):
        raise InvalidOption("what a step replaces varies; put it into the domain", field="inputs")
    shapes = {
        name: (1, *shape[2:]) if name in histories else shape
        for name, shape in asked.inputs.varying.items()
    }
    states = _states(asked)
    graphs = network(manifest, asked.program, shapes | states, asked.inputs.frozen, asked.reading)
    carried = {name: graphs(name) for name in [*fed, *states]}
    step = Step(graphs(asked.output), carried, frozenset(states), asked.is_literal)
    if histories:
        [history] = histories
        frames = asked.inputs.varying[history][1]
        graph, begin = (
            memory_rollout(step, steps, history, frames),
            f"{counted(frames, 'frame')} of {history}",
        )
    else:
        graph, begin = rollout(step, steps), asked.varying
    dt = manifest.stepping.dt
    text = (
        f"{counted(steps, 'step')} of {dt:g}{asked.grid}{asked.postprocesses}, as served: {begin} "
        f"to {asked.output} at t = {steps * dt:g}"
    )
    return Described(graph, text, steps > manifest.stepping.max_steps)


def _states(asked: Asked) -> dict[str, tuple[int, ...]]:
    """Shapes of what the program remembers, by name."""
    assert asked.manifest.stepping is not None
    sizes = {name: axis.size for name, axis in asked.manifest.axes.items() if axis.size}
    sizes |= asked.inputs.sizes
    return {
        STATE + spec.name: (1, *(sizes[axis] for axis in spec.axes))
        for spec in asked.manifest.stepping.states
    }
