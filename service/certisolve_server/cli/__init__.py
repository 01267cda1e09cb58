"""The command `certisolve`."""

import typer

from . import (
    bench,
    certificate,
    certify,
    doctor,
    export,
    gateway,
    models,
    queue,
    serve,
    solve,
    worker,
)

app = typer.Typer(
    name="certisolve",
    help="Fields and bounds from trained surrogates of differential equations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("gateway")(gateway.gateway)
app.command("worker")(worker.worker)
app.add_typer(queue.app)
app.command("models")(models.models)
app.command("solve")(solve.solve)
app.command("certify")(certify.certify)
app.add_typer(certificate.app)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)

__all__ = ["app"]
