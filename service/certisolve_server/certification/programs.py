"""Programs of artifacts, as the certifier reads them."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch.export import ExportedProgram

from certisolve_server.artifacts import ArtifactError, UnsafeProgram, check_pt2, read_artifact
from certisolve_server.errors import ModelNotReady, NotCertified
from certisolve_server.jobs import Artifact, ModelKey

_MAX_KEPT = 4


class Programs:
    """Loads programs, and keeps the last few."""

    def __init__(self) -> None:
        self._kept: OrderedDict[ModelKey, tuple[Artifact, ExportedProgram]] = OrderedDict()

    def load(self, model: ModelKey, directory: Path) -> tuple[Artifact, ExportedProgram]:
        """The artifact of a model and its program, which nothing has run.

        Args:
            model: that was asked about.
            directory: of its artifact.

        Raises:
            ModelNotReady: the artifact is gone, or another one by now.
            NotCertified: its program has no graph.
        """
        known = self._kept.get(model)
        if known is None:
            known = self._kept[model] = _load(model, directory)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(model)
        return known


def _load(model: ModelKey, directory: Path) -> tuple[Artifact, ExportedProgram]:
    try:
        artifact = read_artifact(directory)
    except ArtifactError as error:
        raise ModelNotReady(f"{model.name}: {error}") from error
    if artifact.key != model:
        raise ModelNotReady(f"{model.name}: another artifact has taken its place")
    program = artifact.manifest.program
    if program.format != "torch.export":
        raise NotCertified(f"{model.name}: its program is {program.format}, which has no rules")
    path = directory / program.file
    try:
        check_pt2(path)
        return artifact, torch.export.load(path)
    except UnsafeProgram as error:
        raise ModelNotReady(f"{path.name}: refused: {error}") from error
