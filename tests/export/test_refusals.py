"""What cannot be served is refused by name, with place and remedy; nothing is left behind."""

import warnings

import pytest
import torch
from torch import nn

import certisolve_export
from certisolve_export import (
    DataDependentControlFlow,
    DraftError,
    ExportError,
    ForeignOperator,
    GoldenMismatch,
    MixedBatch,
    ModuleFailed,
    MutatedState,
    NotDeterministic,
    NotFinite,
    NotMeasured,
    NotTraceable,
    SpecialisedBatch,
    SpecialisedGrid,
    TrainingMode,
    UnlistedOperator,
    UnsupportedDtype,
    WrongOutputs,
    WrongShape,
    errors,
)

from .conftest import field, resolution

TWO_SIZES = [resolution(16), resolution(32)]


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, u0):
        return self.layers(u0)


class Counter(nn.Module):
    """Remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.eval()

    def forward(self, u0):
        self.calls += 1
        return u0


class OneRowPerSample(nn.Module):
    """Adds a buffer as long as the batch it was made for."""

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.zeros(num_rows, 1))
        self.eval()

    def forward(self, u0):
        return u0 + self.offsets[: u0.shape[0]]


class Tanh(nn.Module):
    def forward(self, u0):
        return u0.tanh()


def stacked_by_sample(u0):
    return torch.stack([2 * sample for sample in u0])


def fixed_to_16_points(u0):
    return u0 * torch.ones(16) if u0.shape[1] == 16 else u0 * 1


def different_when_traced(u0):
    return 2 * u0 if torch.compiler.is_exporting() else u0


def writes_to_its_input(u0):
    return u0.mul_(2)


@torch.library.custom_op("certisolve_tests::double", mutates_args=())
def double(u: torch.Tensor) -> torch.Tensor:
    return 2 * u


@double.register_fake
def _(u):
    return torch.empty_like(u)


REFUSED = {
    "a loop over samples": (stacked_by_sample, {}, SpecialisedBatch, "fixes batch to 8 at"),
    "the length of a tensor": (
        lambda u: u * torch.ones(len(u), 1),
        {},
        SpecialisedBatch,
        "never from len",
    ),
    "a buffer of twelve rows": (
        OneRowPerSample(12),
        {},
        SpecialisedBatch,
        "up to 12 only, not to 16",
    ),
    "a size that is compared": (
        fixed_to_16_points,
        {"resolutions": TWO_SIZES},
        SpecialisedGrid,
        "fixes x to 16 at",
    ),
    "a truth value": (lambda u: u > 0, {}, UnsupportedDtype, "u is torch.bool"),
    "an integer": (lambda u: u.round().long(), {}, UnsupportedDtype, "u is torch.int64"),
    "double precision": (lambda u: u.double(), {}, UnsupportedDtype, "the manifest says F32"),
    "a complex number": (torch.fft.fft, {}, UnsupportedDtype, "view_as_real"),
    "half precision in the draft": (
        lambda u: u,
        {"outputs": [field("u", dtype="F16")]},
        UnsupportedDtype,
        "F16 is drafted",
    ),
    "random numbers": (lambda u: u + torch.rand_like(u), {}, NotDeterministic, "two runs"),
    "functional dropout": (
        lambda u: nn.functional.dropout(u, 0.5),
        {},
        NotDeterministic,
        "training=self.training",
    ),
    "dropout in training mode": (
        Net(nn.Linear(16, 16), nn.Dropout()),
        {},
        TrainingMode,
        r"layers\.1 \(Dropout\)",
    ),
    "batch normalisation in training mode": (
        Net(nn.BatchNorm1d(16)),
        {},
        TrainingMode,
        r"layers\.0 \(BatchNorm1d\)",
    ),
    "a buffer that counts": (Counter(), {}, MutatedState, "the buffer calls"),
    "an input that is overwritten": (writes_to_its_input, {}, MutatedState, "its inputs"),
    "a softmax over the batch": (lambda u: u.softmax(0), {}, MixedBatch, "alone and in a batch"),
    "the mean of the batch": (lambda u: u - u.mean(), {}, MixedBatch, "batch mates"),
    "another axis": (lambda u: u.unsqueeze(1), {}, WrongShape, r"\(8, 1, 16\)"),
    "too few points": (lambda u: u[:, ::2], {}, WrongShape, r"\(batch, x\) are \(8, 16\)"),
    "two outputs for one": (lambda u: (u, u), {}, WrongOutputs, "returns 2 tensors"),
    "no tensor": (lambda u: (u.tolist(),), {}, WrongOutputs, "a list"),
    "a logarithm of negative numbers": (torch.log, {}, NotFinite, "values that are NaN"),
    "a batch of three": (lambda u: u.view(3, -1).view_as(u), {}, ModuleFailed, r"\(8, 16\)"),
    "a choice by value": (
        lambda u: u if u.abs().sum() > 0 else -u,
        {},
        DataDependentControlFlow,
        "test_refusals.py",
    ),
    "numpy": (
        lambda u: torch.from_numpy(2 * u.numpy()),
        {},
        NotTraceable,
        "no numpy",
    ),
    "another result when traced": (different_when_traced, {}, GoldenMismatch, "off the module by"),
    "a size that only tracing knows": (
        lambda u: u[:, torch.arange(16)] if torch.compiler.is_exporting() else u * 1,
        {"resolutions": TWO_SIZES},
        GoldenMismatch,
        "the program fails, and the module does not",
    ),
    "an operator of one's own": (double, {}, ForeignOperator, "certisolve_tests"),
}


@pytest.mark.parametrize(("model", "changes", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused_by_name(attempt, tmp_path, model, changes, error, said):
    with warnings.catch_warnings():
        # torch's own, about the modules above: tracing saw numbers, or assigned a buffer.
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=said) as raised:
            attempt(model, **changes)
    assert type(raised.value) is error
    assert raised.value.fix
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.rglob("manifest.json"))


def test_an_operator_that_servers_do_not_run_is_named_with_its_line(attempt):
    with pytest.raises(
        UnlistedOperator, match=r"aten.tanh.default at .*test_refusals.py:\d+: `return u0.tanh"
    ):
        attempt(Tanh(), options={"is_listed": lambda name: "tanh" not in name})


def test_the_line_at_fault_is_quoted(attempt):
    with pytest.raises(SpecialisedBatch, match=r"test_refusals.py:\d+: `.*for sample in u0"):
        attempt(stacked_by_sample)


def test_a_grid_with_one_validated_size_may_be_fixed(attempt):
    assert attempt(fixed_to_16_points).folder.is_dir()


def test_a_model_of_which_nobody_knows_the_error_is_refused(attempt):
    unknown = {"resolutions": [{"sizes": {"x": 16}}]}
    with pytest.raises(NotMeasured, match="x=16"):
        attempt(lambda u: u, **unknown)
    exported = attempt(lambda u: u, options={"unmeasured": True}, **unknown)
    [measured] = exported.manifest.resolutions
    assert (measured.error, measured.worst_error, measured.num_samples) == (None, None, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"outputs": []}, "outputs"),
        ({"family": "feedback-ode"}, "needs"),
        ({"resolutions": []}, "none of its sizes is listed"),
        ({"inputs": [field("u0", axes=["z"])]}, "'z' is not in axes"),
    ],
)
def test_a_draft_that_is_no_manifest_is_refused_with_the_key(attempt, changes, said):
    with pytest.raises(DraftError, match=said):
        attempt(lambda u: u, **changes)


def test_a_family_that_only_the_zoo_exports_is_refused_by_its_name(attempt):
    integration = {"method": "tsit5", "rtol": 1e-5, "atol": 1e-6, "smallest_rtol": 1e-6}
    integration |= {"max_steps": 100, "horizon": 1.0}
    vector_field = {"family": "ode", "t": [1.0], "integration": integration}
    with pytest.raises(DraftError, match="ode is not exported here") as raised:
        attempt(lambda u: u, **vector_field, inputs=[field("u")], outputs=[field("u")])
    assert "rollout" in str(raised.value)


def test_every_error_is_public_and_in_the_tree():
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    for each in classes:
        assert issubclass(each, ExportError)
        assert getattr(certisolve_export, each.__name__) is each
        assert each.__name__ in ExportError.__doc__
