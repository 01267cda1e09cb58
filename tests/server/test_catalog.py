"""The newest version that is ready answers unless another is asked for."""

from itertools import permutations

import pytest

from certisolve_server.catalog import Catalog, ModelEntry, WorkerRef
from certisolve_server.errors import ModelNotReady, UnknownModel, UnknownVersion
from certisolve_server.jobs import Artifact, ModelKey
from helpers import field_manifest

WORKERS = tuple(WorkerRef(f"w{n}", "cpu", f"127.0.0.1:{9000 + n}") for n in range(3))


def entry(name, version, digest="00", **state):
    return ModelEntry(Artifact(field_manifest(name, version=version), digest, "/models"), **state)


def served(version, digest, num_workers):
    return entry("m", version, digest, ready=True, workers=WORKERS[:num_workers])


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
    assert made.find("m", "1").artifact.key == ("m", "1", "00")


def test_a_version_that_is_not_ready_yet_turns_nobody_away():
    made = catalog(("m", "3"))
    for version in ("1", "2"):
        made.put(entry("m", version, ready=True))
    assert made.find("m").artifact.key.version == "2"
    assert made.find("m", "3").artifact.key.version == "3"
    made.put(entry("m", "3", ready=True))
    assert made.find("m").artifact.key.version == "3"


def test_an_entry_put_again_replaces_the_one_of_its_version():
    made = catalog(("m", "1"), ("m", "2"))
    made.put(entry("m", "1", ready=True))
    assert made.find("m", "1").ready
    assert not made.find("m", "2").ready
    assert versions(made) == ["1", "2"]


def test_entries_are_listed_by_name_and_version():
    made = catalog(("b", "10"), ("a", "1"), ("b", "9"))
    keys = [each.artifact.key for each in made]
    assert keys == [("a", "1", "00"), ("b", "9", "00"), ("b", "10", "00")]


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


# --- Fleets ---------------------------------------------------------------------------------------


def test_a_fleets_models_replace_those_of_before():
    made = catalog(("old", "1"), ("m", "1"))
    made.replace([entry("m", "10"), entry("m", "9"), entry("a", "1")])
    keys = [each.artifact.key for each in made]
    assert keys == [("a", "1", "00"), ("m", "9", "00"), ("m", "10", "00")]
    assert made.find("m").artifact.key.version == "10"
    with pytest.raises(UnknownModel):
        made.find("old")


ROLLOUTS = {
    "most workers": ([("aa", True, 2), ("bb", True, 1)], "aa"),
    "a tie goes to the larger digest": ([("aa", True, 1), ("bb", True, 1)], "bb"),
    "loading counts for nothing": ([("aa", True, 1), ("bb", False, 2)], "aa"),
    "ready before loading": ([("aa", True, 0), ("bb", False, 0)], "aa"),
    "nobody is ready": ([("aa", False, 2), ("bb", False, 0)], "bb"),
    "three at once": ([("aa", True, 1), ("bb", True, 3), ("cc", True, 2)], "bb"),
}


@pytest.mark.parametrize(("present", "found"), ROLLOUTS.values(), ids=ROLLOUTS)
def test_during_a_rollout_the_digest_on_most_workers_is_found(present, found):
    entries = [entry("m", "1", d, ready=r, workers=WORKERS[:n]) for d, r, n in present]
    for order in permutations(entries):
        made = Catalog()
        made.replace(order)
        assert made.find("m", "1").artifact.digest == found
        assert len(list(made)) == 1


def test_every_digest_of_a_rollout_is_recalled():
    made = Catalog()
    made.replace([served("1", "aa", 2), served("1", "bb", 1)])
    for digest in ("aa", "bb"):
        assert made.recall(ModelKey("m", "1", digest)).digest == digest


def test_what_was_served_is_recalled_when_it_is_served_no_more():
    made = Catalog()
    made.put(entry("m", "1", "aa"))
    made.replace([served("1", "bb", 1)])
    made.replace([])
    assert made.recall(ModelKey("m", "1", "aa")).digest == "aa"
    assert made.recall(ModelKey("m", "1", "bb")).digest == "bb"


def test_what_was_never_served_is_an_error_that_names_it():
    made = catalog(("m", "1"))
    with pytest.raises(ModelNotReady, match="m 1 of digest ff"):
        made.recall(ModelKey("m", "1", "ff"))
    with pytest.raises(ModelNotReady, match="digest unknown"):
        made.recall(ModelKey("m", "1"))


def test_years_of_rollouts_are_not_all_remembered():
    made = Catalog()
    for number in range(2_000):
        made.replace([served("1", f"{number:04}", 1), served("2", "kept", 1)])
    assert made.recall(ModelKey("m", "2", "kept"))
    assert made.recall(ModelKey("m", "1", "1999"))
    assert made.recall(ModelKey("m", "1", "1900"))
    with pytest.raises(ModelNotReady):
        made.recall(ModelKey("m", "1", "0000"))
