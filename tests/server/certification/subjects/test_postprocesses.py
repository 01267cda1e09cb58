"""Post-processors as graphs do what they do to answers."""

import dataclasses

import pytest
import torch

from certisolve.manifest import Manifest, Postprocess
from certisolve_server.certification.subjects.networks import network
from certisolve_server.certifier.errors import NotCertified
from certisolve_server.certifier.execution import Execution
from certisolve_server.engines.postprocess import Outputs, postprocesses
from small_networks import ARTIFACTS, Applied, exported

KINDS = {
    "dirichlet": Postprocess(kind="dirichlet", output="u", value=0.5),
    "periodic": Postprocess(kind="periodic", output="u"),
    "a value kept": Postprocess(kind="conserve", output="u", value=0.25),
    "an input kept": Postprocess(kind="conserve", output="u", integral_of="a"),
}


def manifest_of(*kinds):
    whole = Manifest.from_json((ARTIFACTS / "darcy2d-fno" / "1" / "manifest.json").read_bytes())
    axes = {
        name: dataclasses.replace(axis, convention="nodes") if axis.kind == "grid" else axis
        for name, axis in whole.axes.items()
    }
    return dataclasses.replace(whole, axes=axes, postprocess=kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_of_a_field_is_what_is_returned_of_it(kind):
    manifest = manifest_of(KINDS[kind])
    program = exported(Applied(torch.sin), (1, 5, 7))
    field = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(0))
    [change] = postprocesses(manifest)
    expected = change(Outputs({"u": torch.sin(field.double())}, {}), {"a": field.double()})

    graph = network(manifest, program, {"a": (1, 5, 7)}, {})("u")
    found = Execution(graph).function()(field.double().reshape(1, -1))
    assert torch.allclose(found, expected.fields["u"].flatten(1), atol=1e-12)


def test_one_after_the_other_in_the_order_of_the_manifest():
    kinds = (KINDS["dirichlet"], KINDS["a value kept"])
    manifest = manifest_of(*kinds)
    field = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(0)).double()
    outputs = Outputs({"u": torch.sin(field)}, {})
    for change in postprocesses(manifest):
        outputs = change(outputs, {"a": field})

    program = exported(Applied(torch.sin), (1, 5, 7))
    graph = network(manifest, program, {"a": (1, 5, 7)}, {})("u")
    found = Execution(graph).function()(field.reshape(1, -1))
    assert torch.allclose(found, outputs.fields["u"].flatten(1), atol=1e-12)


def test_what_has_no_graph_is_refused():
    manifest = manifest_of(KINDS["a value kept"])
    object.__setattr__(
        manifest, "postprocess", (dataclasses.replace(KINDS["a value kept"], deviation="u_std"),)
    )
    program = exported(Applied(torch.sin), (1, 5, 7))

    with pytest.raises(NotCertified, match="conserve"):
        network(manifest, program, {"a": (1, 5, 7)}, {})("u")
