"""Which operators of the bundled programs have rules: all, and a new one does not slip in."""

import inspect
import json
import zipfile

import pytest
import torch

from certisolve_server.certifier.graph.integers import INTEGER_OPERATORS
from certisolve_server.certifier.rules import RULES
from small_networks import ARTIFACTS

#: What the lowering does itself: arithmetic on sizes, and checks that compute nothing.
LOWERED_AWAY = {"aten.sym_size.int", "aten._assert_tensor_metadata.default"}

#: Exact, so that it only changes on purpose.
WITHOUT_RULE: set[str] = set()


@pytest.fixture(scope="module")
def overloads():
    """As they are written in the archives, which are read many times faster than by torch."""
    found = set()
    for path in sorted(ARTIFACTS.glob("*/*/program.pt2")):
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("models/model.json"))
            graph = json.loads(archive.read(name))["graph_module"]["graph"]
        found.update(node["target"].removeprefix("torch.ops.") for node in graph["nodes"])
    return {target for target in found if target.startswith("aten.")}


def test_every_overload_of_a_bundled_program_has_a_rule_or_is_listed(overloads):
    assert len(overloads) > 60
    assert overloads - RULES.keys() - INTEGER_OPERATORS - LOWERED_AWAY == WITHOUT_RULE


def test_rules_take_the_arguments_of_the_schemas_they_stand_for():
    for operator, rule in RULES.items():
        kind, name, *overload = operator.split(".")
        if kind != "aten":
            continue
        schema = getattr(getattr(torch.ops.aten, name), overload[0])._schema
        arguments = {each.name: None for each in schema.arguments}
        assert _accepts(rule, arguments), operator


def _accepts(rule, arguments):
    try:
        inspect.signature(rule).bind(**arguments)
    except TypeError:
        return False
    return True
