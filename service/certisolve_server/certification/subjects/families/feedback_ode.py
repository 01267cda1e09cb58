"""`feedback-ode`: the flow without feedback, and the closed loop that is served."""

import numpy as np

from certisolve_server.certification.subjects.asked import Asked, Described, counted
from certisolve_server.certification.subjects.networks import named
from certisolve_server.certifier.dynamics.assembly import Assembly
from certisolve_server.certifier.dynamics.cascades import Corrected, Pass, cascade, uncorrected
from certisolve_server.certifier.graph.node import Input, Ref
from certisolve_server.certifier.problem import Flow
from certisolve_server.engines.families.cascade import Cascade
from certisolve_server.errors import InvalidOption, OutOfRange

#: Evaluations of a vector field in one graph: more take longer to walk through than a budget is.
_MOST_EVALUATIONS = 1024

_OBSERVER, _GAIN = "observer.", "gain."


def feedback(asked: Asked) -> Described:
    """The flow where a time is named, and else the steps that are served."""
    if asked.request.t is not None and asked.request.steps is not None:
        raise InvalidOption("name t or steps, not both", field="steps")
    if asked.request.t is not None:
        return _feedback_flow(asked)
    return _feedback_loop(asked)


def _feedback_flow(asked: Asked) -> Described:
    """From one measurement the vector field alone forecasts: in continuous time, its flow."""
    manifest = asked.manifest
    assert manifest.stepping is not None
    name = manifest.inputs[0].name
    measurements, *shape = asked.inputs.varying[name][1:]
    if measurements != 1:
        raise InvalidOption(
            "the flow begins at one measurement; of several, name steps instead of t", field="t"
        )
    horizon_s = manifest.stepping.dt * manifest.stepping.max_steps
    duration = asked.duration(horizon_s)
    free = uncorrected(_field(asked, tuple(shape)))
    assembly = Assembly(Input(name, (1, 1, *shape)))
    state = _reshaped(assembly, name, (1, *shape))
    slope = assembly.insert(free, {free.inputs[0].name: state})
    field = assembly.graph(_reshaped(assembly, slope, (1, 1, *shape)))
    text = (
        f"the exact flow of the learned vector field over t = {duration:g}, without feedback: one "
        f"measurement of {name} to {name} at {duration:g}. What is served are Euler's steps of "
        f"{manifest.stepping.dt:g} along it; name steps to certify those"
    )
    return Described(Flow(field, duration), text, duration > horizon_s)


def _feedback_loop(asked: Asked) -> Described:
    """The cascade as it is served, all measurements and all observers in one graph."""
    manifest, steps = asked.manifest, asked.steps()
    assert manifest.stepping is not None
    assert manifest.feedback is not None
    name = manifest.inputs[0].name
    measurements, *shape = asked.inputs.varying[name][1:]
    plan = Cascade(manifest.feedback, manifest.stepping.dt).forecast(steps, measurements, 1.0)
    evaluations = plan.num_evaluations(len(plan.moves))
    if evaluations > _MOST_EVALUATIONS:
        raise OutOfRange(
            f"{measurements} measurements over {steps} steps evaluate the field {evaluations} "
            f"times; {_MOST_EVALUATIONS} at most are certified",
            field="steps",
        )
    passes = [
        Pass(
            move.first,
            tuple(_single(gain) for gain in move.gains),
            _single(move.dt_x),
            _single(move.dt_y),
            move.opens,
            move.measurement,
        )
        for move in plan.moves
    ]
    graph = cascade(_field(asked, tuple(shape)), passes, name, measurements)
    loop = (
        f"the closed loop of {measurements} measurements, states and observers jointly"
        if measurements > 1
        else "the open loop of one measurement, which observers do not correct"
    )
    ahead = f"{steps * manifest.stepping.dt:g}"
    text = (
        f"{counted(steps, 'step')} of Euler's, {manifest.stepping.dt:g} each, as served: {loop}; "
        f"{name} to {name} {ahead} later"
    )
    return Described(graph, text, steps > manifest.stepping.max_steps)


def _field(asked: Asked, shape: tuple[int, ...]) -> Corrected:
    name = asked.manifest.inputs[0].name
    varying = {name: (1, *shape), _OBSERVER: (1, *shape), _GAIN: (1,)}
    order = [name, _OBSERVER, _GAIN]
    graph = named(asked.program, order, varying, asked.inputs.frozen, 0, asked.reading)
    return Corrected(graph, name, _OBSERVER, _GAIN, asked.is_literal)


def _reshaped(assembly: Assembly, name: str, shape: tuple[int, ...]) -> str:
    return assembly.apply("aten.reshape.default", shape, {"self": Ref(name), "shape": shape})


def _single(number: float) -> float:
    """In the precision in which layers are moved."""
    return float(np.float32(number))
