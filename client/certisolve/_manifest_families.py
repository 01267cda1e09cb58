"""Whether a manifest says what its family needs, and no more."""

import itertools
from typing import TYPE_CHECKING

from ._manifest_error import ManifestError
from ._manifest_parts import Stepping

if TYPE_CHECKING:
    from .manifest import Manifest

_STEPPING = ("rollout", "memory-rollout", "feedback-ode")
# Of a step: times that differ by less are the same.
_SAME_TIME = 1e-6


def check_family(manifest: "Manifest") -> None:
    """Refuse a manifest that does not say what its family needs, or says more.

    Raises:
        ManifestError: with the key at fault.
    """
    family = manifest.family
    for key, families in (
        ("stepping", _STEPPING),
        ("integration", ("ode",)),
        ("feedback", ("feedback-ode",)),
        ("iteration", ("iterative-solver",)),
    ):
        if (getattr(manifest, key) is not None) != (family in families):
            verb = "needs" if family in families else "does not take"
            raise ManifestError(f"{key}: the family {family} {verb} it")
    if family in ("rollout", "memory-rollout"):
        _check_rollout(manifest)
    if family == "feedback-ode":
        _check_feedback(manifest)
    if family == "ode":
        _check_integration(manifest)
    if family == "iterative-solver":
        _check_iteration(manifest)
    if manifest.stepping is not None:
        _check_times(manifest, manifest.stepping)
        _check_histories(manifest)


def _check_rollout(manifest: "Manifest") -> None:
    assert manifest.stepping is not None
    inputs = {spec.name: spec for spec in manifest.inputs}
    carried = [spec for spec in manifest.outputs if spec.name in inputs]
    if not carried:
        raise ManifestError("outputs: one must have the name of an input, whose next value it is")
    for spec in carried:
        if manifest.frame_axes(inputs[spec.name]) != spec.axes:
            raise ManifestError(f"outputs: {spec.name} has other axes than the input")
        if inputs[spec.name].dtype != spec.dtype:
            raise ManifestError(f"outputs: {spec.name} has another dtype than the input")
    if bool(manifest.stepping.states) != (manifest.family == "memory-rollout"):
        raise ManifestError(f"stepping.states: not those of the family {manifest.family}")


def _check_histories(manifest: "Manifest") -> None:
    histories = {spec.axes[0] for spec in manifest.inputs if manifest.frame_axes(spec) != spec.axes}
    if len(histories) > 1:
        raise ManifestError("inputs: histories must share one axis")
    for name in histories:
        if manifest.axes[name].maximum is None:
            raise ManifestError(f"axes.{name}.maximum: a history needs one")


def _check_feedback(manifest: "Manifest") -> None:
    assert manifest.stepping is not None
    assert manifest.feedback is not None
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        raise ManifestError("inputs, outputs: the family feedback-ode has one of each")
    [taken], [returned] = manifest.inputs, manifest.outputs
    kinds = [manifest.axes[axis].kind for axis in taken.axes]
    if kinds != ["points", "channel"] or taken.axes[1:] != returned.axes:
        raise ManifestError("inputs: need the axes (measurement, state), outputs (state)")
    if manifest.stepping.states or any(spec.program_input for spec in manifest.parameters):
        raise ManifestError("stepping.states, parameters: the family feedback-ode passes none")
    if manifest.feedback.decay < 0 or manifest.feedback.eigenvalue < 0:
        raise ManifestError("feedback: decay and eigenvalue must not be negative")


def _check_integration(manifest: "Manifest") -> None:
    integration = manifest.integration
    assert integration is not None
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        raise ManifestError("inputs, outputs: the family ode has one of each")
    [taken], [returned] = manifest.inputs, manifest.outputs
    if (taken.name, taken.axes, taken.dtype) != (returned.name, returned.axes, returned.dtype):
        raise ManifestError("outputs: that of the family ode is its input at later times")
    if "t" in manifest.axes:
        raise ManifestError("axes.t: is that of the times asked for")
    if not 0 < integration.smallest_rtol <= integration.rtol < 1 or not integration.atol > 0:
        raise ManifestError("integration: needs 0 < smallest_rtol <= rtol < 1 and atol > 0")
    if integration.max_steps < 1 or not integration.horizon > 0:
        raise ManifestError("integration: needs max_steps >= 1 and horizon > 0")
    ascending = all(later > time for time, later in itertools.pairwise((0.0, *manifest.t)))
    if not manifest.t or not ascending or manifest.t[-1] > integration.horizon:
        raise ManifestError("t: needs ascending times, greater than 0, up to integration.horizon")


def _check_iteration(manifest: "Manifest") -> None:
    iteration = manifest.iteration
    assert iteration is not None
    inputs = {spec.name: spec for spec in manifest.inputs}
    if iteration.right_hand_side not in inputs:
        raise ManifestError("iteration.right_hand_side: must be an input")
    if len(manifest.outputs) != 1:
        raise ManifestError("outputs: the family iterative-solver has one")
    if inputs[iteration.right_hand_side].axes != manifest.outputs[0].axes:
        raise ManifestError("outputs: needs the axes of the right-hand side")
    if manifest.outputs[0].dtype != "F64":
        raise ManifestError("outputs: the family iterative-solver answers in F64")
    if not 0 < iteration.smallest_tolerance <= iteration.tolerance < 1:
        raise ManifestError("iteration: needs 0 < smallest_tolerance <= tolerance < 1")
    if iteration.max_iterations < 1:
        raise ManifestError("iteration.max_iterations: must be at least 1")


def _check_times(manifest: "Manifest", stepping: Stepping) -> None:
    if not stepping.dt > 0 or stepping.max_steps < 1:
        raise ManifestError("stepping: needs dt > 0 and max_steps >= 1")
    if "t" in manifest.axes:
        raise ManifestError("axes.t: is that of the times asked for")
    if not manifest.t:
        raise ManifestError("t: needs the times that are answered when the caller names none")
    steps = [time / stepping.dt for time in manifest.t]
    for time, step in zip(manifest.t, steps, strict=True):
        inside = 0.5 < step < stepping.max_steps + 0.5
        if not inside or abs(step - round(step)) > _SAME_TIME:
            raise ManifestError(f"t: {time:g} is not a step, 1 to {stepping.max_steps}")
    if any(round(later) <= round(step) for step, later in itertools.pairwise(steps)):
        raise ManifestError("t: must ascend")
