"""Models and lanes as text, in the names of keys; the inverse is never needed."""

import functools

from certisolve_server.jobs import Lane, ModelKey

_DIGEST_DIGITS = 16


@functools.lru_cache(maxsize=1024)
def model_text(model: ModelKey) -> str:
    """`name/version@digest`; names hold no `|`, and a version's is replaced."""
    version = model.version.replace("|", "%7C")
    return f"{model.name}/{version}@{model.digest[:_DIGEST_DIGITS]}"


@functools.lru_cache(maxsize=4096)
def lane_text(lane: Lane) -> str:
    """The model, what is asked of it if not its solution, shape and type of every array."""
    pairs = zip(lane.shapes, lane.dtypes, strict=True)
    inputs = ";".join(f"{'x'.join(map(str, shape))}{dtype}" for shape, dtype in pairs)
    kind = "" if lane.kind == "solve" else f"{lane.kind};"
    return f"{model_text(lane.model)}:{kind}{inputs}"
