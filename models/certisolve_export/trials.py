"""What a model must do before it is worth tracing: run, repeat itself, and keep requests apart."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from certisolve.manifest import Manifest, TensorSpec

from .answers import Program
from .draft import states
from .errors import (
    ExportError,
    MixedBatch,
    ModuleFailed,
    MutatedState,
    NotDeterministic,
    NotFinite,
    TrainingMode,
    UnsupportedDtype,
    WrongOutputs,
    WrongShape,
)
from .measurement import deviation
from .places import raised_at

_DTYPES = {"F32": torch.float32, "F64": torch.float64}
#: Above what another order of summation explains in float32, below what any mixing does.
_MIXED = 1e-3


def as_program(module: nn.Module) -> Program:
    """The module as a function of a batch of arguments, a tuple of tensors whatever it returns."""

    def run(arguments: Sequence[Tensor]) -> Sequence[Tensor]:
        # Not inference_mode: what the module keeps from this call may be trained with later.
        with torch.no_grad():
            returned = module(*arguments)
        return tuple(returned) if isinstance(returned, tuple | list) else (returned,)

    return run


def check_evaluation_mode(module: nn.Module) -> None:
    """Refuse layers that behave as in training.

    Raises:
        TrainingMode: naming them.
    """
    training = [
        f"{name or 'the module'} ({type(layer).__name__})"
        for name, layer in module.named_modules()
        if layer.training and isinstance(layer, _DropoutNd | _NormBase)
    ]
    if training:
        raise TrainingMode(
            f"in training mode: {', '.join(training)}", "return the module after .eval()"
        )


def check_trial(
    run: Program, manifest: Manifest, arguments: Sequence[Tensor], sizes: Mapping[str, int]
) -> None:
    """Run one batch several ways, and refuse what no server could answer with.

    Args:
        run: the module, or a loaded program.
        manifest: what it promises.
        arguments: a batch of at least two.
        sizes: of the manifest's axes.

    Raises:
        ModuleFailed: it raises.
        WrongOutputs, WrongShape, UnsupportedDtype: its outputs are not the manifest's.
        NotFinite: NaN or infinity.
        MutatedState: it writes to its inputs.
        NotDeterministic: a second run gives something else.
        MixedBatch: samples alone give something else.
    """
    before = [tensor.clone() for tensor in arguments]
    outputs = _run(run, arguments)
    if any(not torch.equal(a, b) for a, b in zip(before, arguments, strict=True)):
        raise MutatedState("forward writes to its inputs", "work on a copy: x = x.clone()")
    check_outputs(manifest, outputs, len(arguments[0]), sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        again = _run(run, arguments)
    for spec, first, second in zip(_returned(manifest), outputs, again, strict=True):
        difference = deviation(second, first)
        if difference > 0:
            raise NotDeterministic(
                f"two runs on one input differ by {difference:.1e} in {spec.name} (relative L2)",
                "draw no random numbers in forward and keep nothing from call to call; dropout "
                "needs .eval(), or training=self.training",
            )
    _check_alone(run, manifest, arguments, outputs)


def check_outputs(
    manifest: Manifest, outputs: Sequence[Tensor], batch_size: int, sizes: Mapping[str, int]
) -> None:
    """Refuse outputs that are not the manifest's, in number, shape, type or value.

    Raises:
        WrongOutputs, WrongShape, UnsupportedDtype, NotFinite: naming the output.
    """
    specs = _returned(manifest)
    if len(outputs) != len(specs):
        names = ", ".join(spec.name for spec in specs)
        raise WrongOutputs(
            f"forward returns {len(outputs)} tensors, the manifest lists {len(specs)} ({names})",
            "return a tuple in the order of outputs, then stepping.states",
        )
    for spec, output in zip(specs, outputs, strict=True):
        _check_output(spec, output, (batch_size, *(sizes[axis] for axis in spec.axes)))


def _check_output(spec: TensorSpec, output: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(output, Tensor):
        raise WrongOutputs(f"{spec.name} is a {type(output).__name__}", "return tensors")
    if output.is_complex():
        raise UnsupportedDtype(
            f"{spec.name} is {output.dtype}, which does not travel",
            "return torch.view_as_real(...) with a channel axis (re, im)",
        )
    if output.dtype != _DTYPES[spec.dtype]:
        raise UnsupportedDtype(
            f"{spec.name} is {output.dtype}, the manifest says {spec.dtype}",
            "cast it in the module with .float() or .double(), or correct the manifest",
        )
    if tuple(output.shape) != shape:
        axes = ", ".join(("batch", *spec.axes))
        raise WrongShape(
            f"{spec.name} has shape {tuple(output.shape)}, its axes ({axes}) are {shape}",
            "reshape or move axes in the module, or correct the manifest",
        )
    if not output.isfinite().all():
        count = int((~output.isfinite()).sum())
        raise NotFinite(
            f"{spec.name} holds {count} values that are NaN or infinite, on inputs that the "
            "manifest admits",
            "narrow minimum and maximum of the inputs, or mend the module",
        )


def _check_alone(
    run: Program, manifest: Manifest, arguments: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    for index in range(min(2, len(arguments[0]))):
        alone = _run(run, [tensor[index : index + 1] for tensor in arguments])
        for spec, single, together in zip(_returned(manifest), alone, outputs, strict=True):
            same_shape = single.shape[1:] == together.shape[1:] and len(single) == 1
            difference = deviation(single, together[index : index + 1]) if same_shape else 1.0
            if not difference <= _MIXED:
                raise MixedBatch(
                    f"{spec.name} of a request alone and in a batch of {len(together)} differ by "
                    f"{difference:.1e} (relative L2): its batch mates change its answer",
                    "normalise over channels or points, never over the batch (dimension 0); batch "
                    "normalisation needs .eval()",
                )


def _run(run: Program, arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in arguments)
    try:
        return run(arguments)
    except ExportError:
        raise
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        raise ModuleFailed(
            f"forward fails on inputs of shape {shapes}: {type(error).__name__}: {line}"
            f"{raised_at(error)}",
            "it must take every batch from 1 on, and the axes in the manifest's order after it",
        ) from error


def _returned(manifest: Manifest) -> tuple[TensorSpec, ...]:
    return (*manifest.outputs, *states(manifest))
