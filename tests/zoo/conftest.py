from pathlib import Path

import pytest
import torch
from torch import nn

from certisolve_zoo.artifact import build_artifact
from certisolve_zoo.catalog import CATALOG
from certisolve_zoo.records import WEIGHTS, load_model
from certisolve_zoo.spec import ModelSpec


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session", params=CATALOG.values(), ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    """Each model of the catalog, so that a new one cannot hide."""
    return request.param


@pytest.fixture(scope="session")
def model(spec: ModelSpec) -> nn.Module:
    return load_model(spec, WEIGHTS)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def artifact(spec: ModelSpec, repository: Path) -> Path:
    folder, built = build_artifact(spec, WEIGHTS, repository)
    assert built
    return folder
