"""What a manifest may have done to outputs before they are returned; one kind per file."""

from certisolve.manifest import Manifest

from .base import AbstractPostprocess as AbstractPostprocess
from .base import Outputs as Outputs
from .boundary import Dirichlet, Periodic
from .conserve import Conserve
from .ensemble import Ensemble

__all__ = ["AbstractPostprocess", "Outputs", "postprocesses"]

_KINDS: dict[str, type[Ensemble | Conserve | Dirichlet | Periodic]] = {
    "ensemble": Ensemble,
    "conserve": Conserve,
    "dirichlet": Dirichlet,
    "periodic": Periodic,
}


def postprocesses(manifest: Manifest) -> list[AbstractPostprocess]:
    """Those of a manifest, in its order."""
    return [_KINDS[each.kind](each, manifest) for each in manifest.postprocess]
