"""certisolve models: what a server serves, and how good and how fast it is."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .console import output, pairs_table, print_json
from .remote import DEFAULT_URL, Url, Version, connected

if TYPE_CHECKING:
    from certisolve import ModelInfo
    from certisolve.manifest import Axis, Baseline, Manifest, TensorSpec, ValidatedResolution


def models(
    model: Annotated[str | None, typer.Argument(help="Show this one in detail.")] = None,
    url: Url = DEFAULT_URL,
    version: Version = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List a server's models, or describe one."""
    with connected(url) as client:
        infos = client.models() if model is None else [client.model(model, version)]
    if as_json:
        documents = [_document(info) for info in infos]
        print_json(documents if model is None else documents[0])
    elif model is None:
        output().print(_overview(infos))
    else:
        output().print(_details(infos[0]))


def describe_error(error: float | None, metric: str) -> str:
    """An error in words."""
    if error is None:
        return "never measured"
    return f"{error:.2g} RMSE" if metric == "rmse" else f"{100 * error:.2g} % rel. L2"


def describe_sizes(sizes: dict[str, int]) -> str:
    """`x=64 y=64`; a model without a grid takes any points."""
    return " ".join(f"{axis}={size}" for axis, size in sizes.items()) or "any points"


def _document(info: "ModelInfo") -> dict[str, Any]:
    return dataclasses.asdict(info)


def _overview(infos: list["ModelInfo"]) -> Table:
    table = Table("model", "ready", "equation", "validated at", "time per solve", show_lines=True)
    for info in infos:
        manifest = info.manifest
        table.add_row(
            f"[bold]{escape(info.name)}[/]\nversion {escape(info.version)}",
            _ready(info),
            escape(manifest.equation),
            "\n".join(_validated(resolution) for resolution in manifest.resolutions),
            "\n".join(_speed(baseline) for baseline in manifest.baselines) or "not measured",
        )
    return table


def _details(info: "ModelInfo") -> RenderableType:
    manifest, table = info.manifest, pairs_table()
    table.add_row("model", f"{escape(info.name)}, version {escape(info.version)}")
    table.add_row("ready", _ready(info))
    table.add_row("family", manifest.family)
    table.add_row("equation", escape(manifest.equation))
    for label, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        for spec in specs:
            table.add_row(label, _tensor(spec))
    for name, axis in manifest.axes.items():
        table.add_row("axis", _axis(name, axis))
    for parameter in manifest.parameters:
        allowed = _range(parameter.minimum, parameter.maximum)
        text = f"{parameter.name}: {parameter.description}; {allowed}, default {parameter.default}"
        table.add_row("parameter", escape(text))
    if manifest.t:
        table.add_row("times", _times(manifest))
    for resolution in manifest.resolutions:
        table.add_row("validated", f"{_validated(resolution)}{_worst(resolution)}")
        for time, error in zip(resolution.t, resolution.error_at_t, strict=True):
            table.add_row("", f"at t = {time:g}: {describe_error(error, resolution.metric)}")
    table.add_row("elsewhere", _elsewhere(manifest))
    for baseline in manifest.baselines:
        table.add_row("baseline", _baseline(baseline))
    table.add_row("licence", escape(manifest.licence))
    table.add_row("digest", info.digest)
    return Group(f"[bold]{escape(manifest.title)}[/]", escape(manifest.description), "", table)


def _times(manifest: "Manifest") -> str:
    stepping = manifest.stepping
    if stepping is None:
        return ", ".join(f"{time:g}" for time in manifest.t)
    last = stepping.dt * stepping.max_steps
    return f"multiples of {stepping.dt:g}, validated to {last:g}; {len(manifest.t)} unless asked"


def _ready(info: "ModelInfo") -> str:
    return "[green]yes[/]" if info.ready else "[red]no[/]"


def _validated(resolution: "ValidatedResolution") -> str:
    error = describe_error(resolution.error, resolution.metric)
    return f"{describe_sizes(resolution.sizes)}: {error}"


def _worst(resolution: "ValidatedResolution") -> str:
    if resolution.worst_error is None:
        return ""
    worst = describe_error(resolution.worst_error, resolution.metric)
    return f"; worst of {resolution.num_samples} samples {worst}"


def _elsewhere(manifest: "Manifest") -> str:
    if not manifest.grid_axes:
        return "points may lie anywhere in the input's range"
    if manifest.unvalidated_resolution == "resample":
        return "other grids are resampled to the nearest of these, and the reply says so"
    return "other grids are refused"


def _tensor(spec: "TensorSpec") -> str:
    text = f"{spec.name}({', '.join(spec.axes)}) {spec.dtype}: {spec.description}"
    limits = [text, _range(spec.minimum, spec.maximum)]
    if spec.values:
        limits.append("only " + ", ".join(f"{value:g}" for value in spec.values))
    if spec.max_abs_mean is not None:
        limits.append(f"mean within {spec.max_abs_mean:g} of zero")
    return escape("; ".join(limit for limit in limits if limit))


def _axis(name: str, axis: "Axis") -> str:
    if axis.kind == "channel":
        return escape(f"{name}: {axis.size} components {', '.join(axis.labels)}")
    if axis.kind == "points":
        return f"{name}: {axis.minimum} to {axis.maximum or 'any number of'} points"
    text = f"{name}: {axis.lower:g} to {axis.upper:g}, {axis.convention} grid"
    return escape(f"{text}; {axis.boundary}" if axis.boundary else text)


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is None and maximum is None:
        return ""
    if minimum == maximum:
        return f"always {minimum:g}"
    low = "-∞" if minimum is None else f"{minimum:g}"
    high = "∞" if maximum is None else f"{maximum:g}"
    return f"{low} to {high}"


def _speed(baseline: "Baseline") -> str:
    ratio = baseline.time_ms / baseline.model_time_ms
    return (
        f"batch {baseline.batch_size}: {baseline.model_time_ms:.3g} ms, "
        f"classical {baseline.time_ms:.3g} ms ({ratio:.2g}x)"
    )


def _baseline(baseline: "Baseline") -> str:
    text = f"{_speed(baseline)}; {baseline.solver}, {baseline.grid}, error {baseline.error:.2g}, "
    text += f"model error {baseline.model_error:.2g}, {baseline.hardware}"
    return escape(f"{text}. {baseline.remark}" if baseline.remark else text)
