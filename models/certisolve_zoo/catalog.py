"""The models of the zoo, by name."""

from .spec import ModelSpec
from .specs import (
    burgers1d_fno,
    darcy2d_fno,
    diffreact_multionet,
    kan_formula,
    kan_friction,
    ks1d_ffno,
    ks1d_memno,
    ns2d_fno,
    poisson_dcdm,
    projectile_feedback,
    projectile_neural_feedback,
    spiral_feedback,
    spiral_neural_feedback,
    vanderpol_node,
)

_SPECS = (
    burgers1d_fno.SPEC,
    darcy2d_fno.SPEC,
    ns2d_fno.SPEC,
    ks1d_memno.SPEC,
    ks1d_ffno.SPEC,
    spiral_feedback.SPEC,
    spiral_neural_feedback.SPEC,
    projectile_feedback.SPEC,
    projectile_neural_feedback.SPEC,
    vanderpol_node.SPEC,
    kan_formula.SPEC,
    kan_friction.SPEC,
    diffreact_multionet.SPEC,
    poisson_dcdm.SPEC,
)
CATALOG: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
