"""What a repository serves is what its manifests say, byte for byte; the rest is a named fault."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from certisolve_server.artifacts import ArtifactError, golden_cases, read_artifact, scan
from helpers import field_manifest, seal

GOLDENS = {
    f"x={size}/{side}": np.full((2, size), size, np.float32)
    for size in (16, 32)
    for side in ("inputs/u0", "outputs/u")
}


def write(root, name="double", version="1", goldens=GOLDENS):
    """An artifact whose program is never loaded."""
    directory = root / name / version
    directory.mkdir(parents=True)
    (directory / "program.pt2").write_bytes(b"program")
    save_file(goldens, directory / "golden.safetensors")
    seal(directory, field_manifest(name, version=version))
    return directory


def rewrite(directory, **changes):
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_scan_finds_every_version_of_every_model(tmp_path):
    for name, version in (("b", "2"), ("a", "1"), ("b", "1")):
        write(tmp_path, name, version)
    found = scan(tmp_path)
    assert [artifact.key[:2] for artifact in found.artifacts] == [
        ("a", "1"),
        ("b", "1"),
        ("b", "2"),
    ]
    assert found.faults == {}


def test_an_empty_repository_holds_nothing(tmp_path):
    assert scan(tmp_path) == ([], {})


def test_a_repository_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="no such model repository"):
        scan(tmp_path / "models")


def test_files_beside_the_models_are_no_models(tmp_path):
    write(tmp_path)
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "double" / "notes.txt").write_text("hello")
    (tmp_path / "empty" / "1").mkdir(parents=True)
    found = scan(tmp_path)
    assert [artifact.key.name for artifact in found.artifacts] == ["double"]
    assert found.faults == {}


def test_a_digest_names_the_manifest_and_through_it_every_file(tmp_path):
    directory = write(tmp_path)
    artifact = read_artifact(directory)
    content = (directory / "manifest.json").read_bytes()
    assert artifact.digest == hashlib.sha256(content).hexdigest()
    assert artifact.manifest.files.keys() == {"program.pt2", "golden.safetensors"}
    assert artifact.directory == str(directory.resolve())


def _alter(directory):
    (directory / "program.pt2").write_bytes(b"PROGRAM")


def _remove(directory):
    (directory / "golden.safetensors").unlink()


def _make_a_folder(directory):
    (directory / "program.pt2").unlink()
    (directory / "program.pt2").mkdir()


def _garble(directory):
    (directory / "manifest.json").write_bytes(b"\xff{")


def _add_a_key(directory):
    rewrite(directory, pickle="yes")


def _climb(directory):
    rewrite(directory, files={"program.pt2": "0", "../../secret": "0"})


def _name_with_a_nul(directory):
    rewrite(directory, files={"program.pt2": "0", "a\0b": "0"})


def _misplace(directory):
    directory.rename(directory.parent / "2")


def _upper_case_digest(directory):
    digest = hashlib.sha256(b"program").hexdigest().upper()
    rewrite(directory, files={"program.pt2": digest})


FAULTS = {
    "altered-file": (_alter, "SHA-256"),
    "missing-file": (_remove, "golden.safetensors"),
    "folder-in-place-of-a-file": (_make_a_folder, "program.pt2"),
    "malformed-manifest": (_garble, "manifest.json"),
    "unknown-key": (_add_a_key, "pickle"),
    "file-outside": (_climb, "secret"),
    "file-name-with-a-nul": (_name_with_a_nul, "files"),
    "misplaced": (_misplace, "double/1"),
    "digest-in-capitals": (_upper_case_digest, "SHA-256"),
}


@pytest.mark.parametrize(("spoil", "says"), FAULTS.values(), ids=FAULTS)
def test_one_bad_artifact_is_named_and_keeps_no_other_from_being_served(spoil, says, tmp_path):
    write(tmp_path, "good")
    spoil(write(tmp_path, "double"))
    found = scan(tmp_path)
    assert [artifact.key.name for artifact in found.artifacts] == ["good"]
    ((path, fault),) = found.faults.items()
    assert path.startswith("double/")
    assert says in fault


def test_reading_follows_no_path_out_of_the_artifact(tmp_path):
    directory = write(tmp_path)
    secret = tmp_path / "double" / "secret"
    secret.write_text("secret")
    files = {
        name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
        for name in ("program.pt2", "golden.safetensors", "../secret")
    }
    rewrite(directory, files=files)
    with pytest.raises(ArtifactError, match="secret"):
        read_artifact(directory)


# --- Goldens --------------------------------------------------------------------------------------


def test_there_is_a_golden_case_for_every_validated_resolution(tmp_path):
    cases = list(golden_cases(read_artifact(write(tmp_path))))
    assert sorted(case.name for case in cases) == ["x=16", "x=32"]
    for case in cases:
        assert case.inputs.keys() == {"u0"}
        assert case.outputs.keys() == {"u"}
        assert case.inputs["u0"].shape == (2, int(case.name.removeprefix("x=")))


BAD_GOLDENS = {
    "too-few-cases": {key: array for key, array in GOLDENS.items() if key.startswith("x=16")},
    "none": {},
    "without-a-case": GOLDENS | {"u0": GOLDENS["x=16/inputs/u0"]},
    "of-neither-side": GOLDENS | {"x=16/weights/w": GOLDENS["x=16/inputs/u0"]},
    "too-deep": GOLDENS | {"x=16/inputs/u0/0": GOLDENS["x=16/inputs/u0"]},
}


@pytest.mark.parametrize("goldens", BAD_GOLDENS.values(), ids=BAD_GOLDENS)
def test_goldens_of_another_form_are_refused(goldens, tmp_path):
    artifact = read_artifact(write(tmp_path, goldens=goldens))
    with pytest.raises(ArtifactError, match=r"golden\.safetensors"):
        list(golden_cases(artifact))


def test_goldens_that_are_no_safetensors_are_refused(tmp_path):
    directory = write(tmp_path)
    (directory / "golden.safetensors").write_bytes(b"\x80\x04pickle")
    seal(directory, field_manifest("double"))
    with pytest.raises(ArtifactError, match=r"golden\.safetensors"):
        list(golden_cases(read_artifact(directory)))


def test_goldens_the_manifest_does_not_vouch_for_are_refused(tmp_path):
    directory = write(tmp_path)
    program = hashlib.sha256(b"program").hexdigest()
    rewrite(directory, files={"program.pt2": program})
    with pytest.raises(ArtifactError, match="does not name it"):
        list(golden_cases(read_artifact(directory)))
