"""`python -m certisolve_server` is the command `certisolve`."""

from certisolve_server.cli import app

app(prog_name="certisolve")
