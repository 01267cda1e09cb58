"""The images, as far as that can be seen without building them."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S))
BASES = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}
OURS = {"certisolve-server": "pyproject.toml", "certisolve": "client/pyproject.toml"}
HEAVY = {"torch", "onnxruntime", "onnxruntime-gpu", "scipy"}


def lineage(stage: str) -> str:
    """Everything that is in a stage: its own lines and those of the stages it builds on."""
    own = STAGES[stage]
    return own if BASES[stage] not in STAGES else lineage(BASES[stage]) + own


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no wheel for this platform")
    run = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_every_file_that_is_copied_exists_and_reaches_the_build() -> None:
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    sources = [
        source
        for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for source in words.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(source).is_relative_to(path) for path in allowed), source


@pytest.mark.parametrize("target", ["gateway", "worker"])
def test_images_run_without_root_and_check_their_health(target: str) -> None:
    [user] = re.findall(r"^USER (\d+):\d+$", lineage(target), re.M)
    assert int(user) >= 10_000
    assert "HEALTHCHECK" in lineage(target)
    assert f'"certisolve", "{target}"' in STAGES[target]


def test_base_images_are_pinned_to_a_version() -> None:
    assert {base for base in BASES.values() if base not in STAGES} == {
        "python:${PYTHON_VERSION}-slim-bookworm"
    }
    assert re.search(r"^ARG PYTHON_VERSION=\d+\.\d+\.\d+$", DOCKERFILE, re.M)


def test_the_gateway_copies_an_environment_without_torch() -> None:
    assert "build-worker" not in lineage("gateway")
    assert "EXTRA" not in lineage("build-gateway").replace("PIP_EXTRA_INDEX_URL", "")
    [extras] = re.findall(r"'\.\[([\w,]+)\]'", lineage("build-gateway"))
    installed = set(_closure("certisolve-server", frozenset(extras.split(","))))
    assert {"fastapi", "redis", "opentelemetry-sdk", "certisolve"} <= installed
    assert not installed & HEAVY


def test_the_worker_installs_torch_by_an_extra() -> None:
    for extra in ("cpu", "gpu"):
        assert "torch" in set(_closure("certisolve-server", frozenset({extra})))


def _closure(name: str, extras: frozenset[str]) -> Iterator[str]:
    """What installing a distribution with these extras brings along."""
    waiting, seen = [(name, extras)], set()
    while waiting:
        distribution, wanted = waiting.pop()
        if (distribution, wanted) in seen:
            continue
        seen.add((distribution, wanted))
        yield distribution
        if distribution not in HEAVY:
            waiting += _requirements(distribution, wanted)


def _requirements(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in _texts(name, extras):
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement.name.lower().replace("_", "-"), frozenset(requirement.extras)


def _texts(name: str, extras: frozenset[str]) -> list[str]:
    if name not in OURS:
        return requires(name) or []
    project = tomllib.loads((ROOT / OURS[name]).read_text())["project"]
    optional = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
