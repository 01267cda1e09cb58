"""The models of the zoo, by name."""

from .spec import ModelSpec
from .specs import (
    burgers1d_fno,
    darcy2d_fno,
    kan_formula,
    kan_friction,
    poisson_dcdm,
    projectile_feedback,
    projectile_neural_feedback,
    spiral_feedback,
    spiral_neural_feedback,
)

_SPECS = (
    burgers1d_fno.SPEC,
    darcy2d_fno.SPEC,
    kan_formula.SPEC,
    kan_friction.SPEC,
    poisson_dcdm.SPEC,
    spiral_feedback.SPEC,
    spiral_neural_feedback.SPEC,
    projectile_feedback.SPEC,
    projectile_neural_feedback.SPEC,
)
CATALOG: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
