"""What an exported model says about itself: the contract between training, serving and clients.

A model repository holds `<model>/<version>/manifest.json` beside the program and the golden
tensors it names. Exporters write a `Manifest`, servers check it before anything is loaded, and
clients read it through `Client.models()`.
"""

import dataclasses
import functools
import json
import re
from dataclasses import dataclass, field
from typing import Literal

from . import wire
from ._decode import DecodeError, decode

Family = Literal["map", "rollout", "ode", "feedback-ode", "memory-rollout", "iterative-solver"]
FORMAT_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class ManifestError(ValueError):
    """A manifest is malformed or contradicts itself; the message names the key."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a tensor.

    Attributes:
        kind: `grid` (a discretised dimension of the domain), `points` (a list whose length the
            caller chooses) or `channel` (a fixed number of components).
        lower: left end of the domain, in `units`; grid axes only.
        upper: right end of the domain.
        convention: where the n grid values lie. `periodic`: lower + i (upper - lower)/n, right end
            left out; `nodes`: both ends included; `cells`: cell centres.
        boundary: the boundary condition, in words or as an equation.
        units: of the coordinate; "1" when dimensionless.
        minimum: smallest size a caller may send (points axes).
        maximum: largest size a caller may send (points axes).
        size: the number of components (channel axes).
        labels: names of the components (channel axes).
    """

    kind: Literal["grid", "points", "channel"]
    lower: float | None = None
    upper: float | None = None
    convention: Literal["periodic", "nodes", "cells"] | None = None
    boundary: str | None = None
    units: str = "1"
    minimum: int = 1
    maximum: int | None = None
    size: int | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output of the program, without its leading batch dimension.

    Attributes:
        dtype: safetensors name of the element type, `F32`.
        axes: axis names in order, keys of `Manifest.axes`.
        minimum: smallest admissible element; None for no bound.
        maximum: largest admissible element; None for no bound.
        values: the only admissible elements, ascending; empty for any between the bounds.
        max_abs_mean: largest admissible absolute value of the mean over all elements.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    description: str
    units: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[float, ...] = ()
    max_abs_mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """A scalar of the equation.

    Attributes:
        minimum: smallest validated value; equal to `maximum` for a model trained at one value.
        maximum: largest validated value.
        default: what is used when the caller names none.
        program_input: whether the program takes it, as a tensor of shape (batch,) after the inputs
            and in the order of `Manifest.parameters`. False: the value is built into the weights.
    """

    name: str
    minimum: float
    maximum: float
    default: float
    description: str
    units: str = "1"
    program_input: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidatedResolution:
    """Measured error on unseen data at one resolution.

    Attributes:
        sizes: number of values along each grid axis; empty for a model without grid axes.
        error: mean over the samples, in `metric`.
        worst_error: largest over the samples.
        metric: `rel_l2` = |prediction - reference|_2 / |reference|_2, or `rmse`.
        num_samples: how many unseen samples were measured.
    """

    sizes: dict[str, int]
    error: float
    worst_error: float
    metric: Literal["rel_l2", "rmse"]
    num_samples: int


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The classical solver beside the surrogate, timed in one run on one machine.

    Attributes:
        solver: method and implementation.
        grid: of the classical solver, in words.
        dt: its time step; None for a solver without one.
        batch_size: solves per call, of both.
        error: of the classical solver, in the metric of `resolutions`.
        time_ms: classical milliseconds per solve, median.
        model_error: of the surrogate on the same problems.
        model_time_ms: surrogate milliseconds per solve, median.
        hardware: processor and threads.
        remark: what a reader must know to judge the comparison.
    """

    solver: str
    grid: str
    dt: float | None
    batch_size: int
    error: float
    time_ms: float
    model_error: float
    model_time_ms: float
    hardware: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came to be; enough to make them again."""

    data: str
    recipe: str
    seed: int
    duration_s: float
    hardware: str
    script: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """The executable part: ATen operators in a torch.export archive, or an ONNX graph."""

    format: Literal["torch.export", "onnx"]
    file: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a server and a user must know about one version of one model.

    The program takes the inputs in order, then the parameters with `program_input`, each with a
    leading batch dimension, and returns the outputs in order.

    Attributes:
        equation: the differential equation or formula, in Unicode.
        family: how requests are executed; `map` is one forward pass.
        axes: by name; the grid axes' names are those of `resolutions.sizes`.
        t: times at which the outputs hold; empty for a stationary problem.
        unvalidated_resolution: what to do with a grid size outside `resolutions`: `refuse`, or
            `resample` spectrally to the nearest validated one and say so in the reply.
        batch_tolerance: largest relative L2 difference between an answer computed alone and in a
            batch, measured at export.
        golden_tolerance: largest relative L2 difference between the loaded program's outputs and
            the golden ones.
        max_batch_size: most requests in one forward pass.
        files: SHA-256 in hex of every other file of the artifact, by name.
    """

    name: str
    version: str
    title: str
    description: str
    equation: str
    family: Family
    licence: str
    program: Program
    axes: dict[str, Axis]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    resolutions: tuple[ValidatedResolution, ...]
    unvalidated_resolution: Literal["refuse", "resample"]
    batch_tolerance: float
    golden_tolerance: float
    max_batch_size: int
    files: dict[str, str]
    parameters: tuple[ParameterSpec, ...] = ()
    t: tuple[float, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    training: Training | None = None
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        """Refuse a manifest that contradicts itself.

        Raises:
            ManifestError: with the key at fault.
        """
        if self.format_version != FORMAT_VERSION:
            raise ManifestError(f"format_version: this release reads {FORMAT_VERSION}")
        for key, name in (("name", self.name), ("version", self.version)):
            if not _NAME.fullmatch(name):
                raise ManifestError(f"{key}: {name!r} must match {_NAME.pattern}")
        self._check_axes()
        self._check_tensors()
        self._check_parameters()
        self._check_resolutions()
        self._check_files()

    @functools.cached_property
    def grid_axes(self) -> tuple[str, ...]:
        """Names of the discretised dimensions, in declaration order."""
        return tuple(name for name, axis in self.axes.items() if axis.kind == "grid")

    @classmethod
    def from_json(cls, document: bytes | str, *, strict: bool = True) -> "Manifest":
        """The manifest in a JSON document.

        Args:
            document: contents of `manifest.json`.
            strict: whether an unknown key is an error (servers) or skipped (older clients).

        Raises:
            ManifestError: not JSON, a key missing, unknown or of the wrong type.
        """
        try:
            return decode(cls, _parse(document), strict=strict)
        except (DecodeError, RecursionError) as error:
            raise ManifestError(str(error)) from error

    def to_json(self) -> str:
        """The JSON document that `from_json` reads, indented for people."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def _check_axes(self) -> None:
        for name, axis in self.axes.items():
            key = f"axes.{name}"
            if not name.isidentifier():
                raise ManifestError(f"{key}: must be an identifier")
            if axis.kind == "channel" and (axis.size is None or axis.size < 1):
                raise ManifestError(f"{key}.size: a channel axis needs one, at least 1")
            if axis.minimum < 1:
                raise ManifestError(f"{key}.minimum: must be at least 1")
            _check_order(key, axis.minimum, axis.maximum)
        for name in self.grid_axes:
            axis = self.axes[name]
            if axis.lower is None or axis.upper is None or axis.convention is None:
                raise ManifestError(f"axes.{name}: a grid axis needs lower, upper, convention")
            if not axis.lower < axis.upper:
                raise ManifestError(f"axes.{name}: lower must be below upper")
            if self.unvalidated_resolution == "resample" and axis.convention != "periodic":
                raise ManifestError(f"unvalidated_resolution: axis {name} is not periodic")

    def _check_tensors(self) -> None:
        specs = (*self.inputs, *self.outputs)
        names = [spec.name for spec in specs] + [spec.name for spec in self.parameters]
        if len(set(names)) < len(names):
            raise ManifestError("inputs, outputs, parameters: a name occurs twice")
        for name in names:
            if not name.isidentifier():
                raise ManifestError(f"inputs, outputs, parameters: {name!r} must be an identifier")
        for spec in specs:
            unknown = [axis for axis in spec.axes if axis not in self.axes]
            if unknown:
                raise ManifestError(f"{spec.name}.axes: {unknown[0]!r} is not in axes")
            if spec.dtype not in wire.DTYPES:
                raise ManifestError(
                    f"{spec.name}.dtype: {spec.dtype!r} is none of {[*wire.DTYPES]}"
                )
            _check_order(spec.name, spec.minimum, spec.maximum)

    def _check_parameters(self) -> None:
        for spec in self.parameters:
            if not spec.minimum <= spec.default <= spec.maximum:
                raise ManifestError(f"parameters: {spec.name}.default is outside its range")

    def _check_resolutions(self) -> None:
        if not (self.inputs and self.outputs and self.resolutions):
            raise ManifestError("inputs, outputs, resolutions: each needs at least one entry")
        for resolution in self.resolutions:
            if set(resolution.sizes) != set(self.grid_axes):
                raise ManifestError(f"resolutions: sizes must name exactly {self.grid_axes}")
            if min(resolution.sizes.values(), default=1) < 1:
                raise ManifestError("resolutions: sizes must be at least 1")
        if self.max_batch_size < 1:
            raise ManifestError("max_batch_size: must be at least 1")
        for key in ("batch_tolerance", "golden_tolerance"):
            if getattr(self, key) < 0:
                raise ManifestError(f"{key}: must not be negative")

    def _check_files(self) -> None:
        if self.program.file not in self.files:
            raise ManifestError(f"files: lacks the program {self.program.file!r}")
        for name in self.files:
            if not _FILE.fullmatch(name):
                raise ManifestError(f"files: {name!r} must be a plain name beside the manifest")


def _parse(document: bytes | str) -> object:
    try:
        return json.loads(document)
    except ValueError as error:  # not JSON, not UTF-8, or an integer beyond all measure
        raise ManifestError(str(error)) from error


def _check_order(key: str, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ManifestError(f"{key}: minimum {minimum:g} is above maximum {maximum:g}")
