"""The newest version answers unless another is asked for."""

import pytest

from certisolve_server.catalog import Catalog, ModelEntry
from certisolve_server.errors import UnknownModel, UnknownVersion
from certisolve_server.jobs import Artifact
from helpers import field_manifest


def entry(name, version, **state):
    return ModelEntry(Artifact(field_manifest(name, version=version), "00", "/models"), **state)


def catalog(*entries):
    made = Catalog()
    for name, version in entries:
        made.put(entry(name, version))
    return made


def versions(made):
    return [each.artifact.key.version for each in made]


@pytest.mark.parametrize(
    ("known", "newest"),
    [
        (["1", "2"], "2"),
        (["10", "9"], "10"),
        (["1.9", "1.10"], "1.10"),
        (["1", "1.1"], "1.1"),
        (["2", "1.99"], "2"),
        (["2024-01-31", "2024-02-01"], "2024-02-01"),
        (["v2", "v1"], "v2"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_versions_are_ordered_as_people_number(known, newest):
    for order in (known, known[::-1]):
        made = catalog(*(("m", version) for version in order))
        assert made.find("m").artifact.key.version == newest


def test_a_version_asked_for_is_the_version_given():
    made = catalog(("m", "1"), ("m", "2"))
    assert made.find("m", "1").artifact.key == ("m", "1")


def test_an_entry_put_again_replaces_the_one_of_its_version():
    made = catalog(("m", "1"), ("m", "2"))
    made.put(entry("m", "1", ready=True))
    assert made.find("m", "1").ready
    assert not made.find("m", "2").ready
    assert versions(made) == ["1", "2"]


def test_entries_are_listed_by_name_and_version():
    made = catalog(("b", "10"), ("a", "1"), ("b", "9"))
    assert [each.artifact.key for each in made] == [("a", "1"), ("b", "9"), ("b", "10")]


def test_an_unknown_model_is_named_with_what_there_is():
    with pytest.raises(UnknownModel, match="'x'; this server has: a, b") as caught:
        catalog(("b", "1"), ("a", "1")).find("x")
    assert caught.value.field == "model"
    with pytest.raises(UnknownModel, match="none"):
        Catalog().find("x")


def test_an_unknown_version_is_named_with_what_there_is():
    with pytest.raises(UnknownVersion, match="'3' of m; there is: 1, 2") as caught:
        catalog(("m", "2"), ("m", "1")).find("m", "3")
    assert caught.value.field == "version"


@pytest.mark.parametrize("version", ["", "1.0", " 1"])
def test_a_version_is_matched_to_the_letter(version):
    with pytest.raises(UnknownVersion):
        catalog(("m", "1")).find("m", version)
