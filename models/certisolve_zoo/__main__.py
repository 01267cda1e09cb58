"""`python -m certisolve_zoo`."""

from .cli import app

app()
