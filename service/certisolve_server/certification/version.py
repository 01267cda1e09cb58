"""Which certifier this is; certificates of another are not given out as its own."""

from importlib.metadata import version

CERTIFIER = f"certisolve {version('certisolve-server')}"
