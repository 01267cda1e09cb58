"""`map`: one forward pass."""

from certisolve_server.certification.subjects.asked import Asked, Described
from certisolve_server.certification.subjects.networks import network
from certisolve_server.errors import OutOfRange


def one_pass(asked: Asked) -> Described:
    """Inputs to an output, of the family `map`."""
    asked.refuse_steps()
    if asked.request.t is not None and asked.request.t not in asked.manifest.t:
        known = ", ".join(f"{value:g}" for value in asked.manifest.t)
        right = f"{asked.manifest.name} answers at t = {known}" if known else "leave t out"
        raise OutOfRange(right, field="t")
    graphs = network(
        asked.manifest, asked.program, asked.inputs.varying, asked.inputs.frozen, asked.reading
    )
    text = f"one forward pass{asked.grid}{asked.postprocesses}: {asked.varying} to {asked.output}"
    return Described(graphs(asked.output), text)
