"""The models of the zoo, by name."""

from .spec import ModelSpec
from .specs import burgers1d_fno, darcy2d_fno, kan_formula, spiral_feedback

_SPECS = (burgers1d_fno.SPEC, darcy2d_fno.SPEC, kan_formula.SPEC, spiral_feedback.SPEC)
CATALOG: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
