"""Models and lanes as text, in the names of keys; the inverse is never needed."""

import functools

from certisolve_server.jobs import Lane, ModelKey, Pool

_DIGEST_DIGITS = 16


@functools.lru_cache(maxsize=1024)
def model_text(model: ModelKey) -> str:
    """`name/version@digest`; names hold no `|`, and a version's is replaced."""
    version = model.version.replace("|", "%7C")
    return f"{model.name}/{version}@{model.digest[:_DIGEST_DIGITS]}"


def pool_text(model: ModelKey, pool: Pool) -> str:
    """The model, and who runs the jobs if not the device: `name/version@digest~certify`."""
    return model_text(model) if pool == "device" else f"{model_text(model)}~{pool}"


@functools.lru_cache(maxsize=4096)
def lane_text(lane: Lane) -> str:
    """The pool, what is asked if not the solution, shape and type of every array."""
    pairs = zip(lane.shapes, lane.dtypes, strict=True)
    inputs = ";".join(f"{'x'.join(map(str, shape))}{dtype}" for shape, dtype in pairs)
    kind = "" if lane.kind == "solve" else f"{lane.kind};"
    return f"{pool_text(lane.model, lane.pool)}:{kind}{inputs}"
