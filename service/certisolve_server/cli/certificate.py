"""certisolve certificate: certificates that were written to files, read and proven again."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .certify import summary
from .console import fail, messages, output, pairs_table

if TYPE_CHECKING:
    from certisolve import Certificate
    from certisolve_server.certifier.verify import Verified

#: Exit code of a certificate that is not proven.
NOT_PROVEN = 2

File = Annotated[Path, typer.Argument(help="Written by certisolve certify --output.")]
app = typer.Typer(
    name="certificate",
    help="Certificates in files: read them, and prove them again.",
    no_args_is_help=True,
)


@app.command()
def show(file: File) -> None:
    """Print what a certificate says; nothing of it is proven again."""
    output().print(summary(_load(file)))


@app.command()
def verify(
    file: File,
    models: Annotated[Path, typer.Option(help="Repository with the artifact of the model.")] = Path(
        "models/artifacts"
    ),
) -> None:
    """Prove a certificate again on this machine, without the search that found it.

    The artifact is that of the certificate, by its digest, and the upper bound follows from the
    multipliers and cuts in the file; nothing else in it is believed. Exit code 2: it is not proven.
    """
    certificate = _load(file)
    with messages().status(f"proving {file.name}"):
        verified = _prove(certificate.document, models)
    table = pairs_table()
    table.add_row("upper", f"{verified.upper:.17g} proven, {certificate.upper:.17g} claimed")
    table.add_row("lower", f"{verified.lower:.17g} proven, {certificate.lower:.17g} claimed")
    if verified.rounding is not None:
        claimed = f"{certificate.rounding:.17g} claimed"
        table.add_row("rounding", f"{verified.rounding:.17g} proven, {claimed}")
    output().print(summary(certificate), table, "[green]The certificate holds.[/]", sep="\n")


def _load(file: Path) -> "Certificate":
    from certisolve import Certificate, InvalidReply

    try:
        return Certificate.load(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except InvalidReply as error:
        fail(f"{file}: {error}")


def _prove(document: Mapping[str, Any], models: Path) -> "Verified":
    """The bounds once more; ends the command where they are not proven."""
    from certisolve_server.certification import rebuild
    from certisolve_server.certification.programs import Programs
    from certisolve_server.certification.subjects import open_subject
    from certisolve_server.certifier.errors import CertifierError
    from certisolve_server.certifier.falsify import recheck_witness
    from certisolve_server.certifier.verify import verify as proven
    from certisolve_server.errors import ServingError

    try:
        model = rebuild.model_of(document)
        artifact, program = Programs().load(model, models / model.name / model.version)
        subject = open_subject(rebuild.request_of(document), artifact.manifest, program)
        claim = rebuild.claim_of(document)
        return proven(subject.problem, claim, recheck_witness, executed=subject.executed)
    except CertifierError as error:
        fail(f"not proven: {error}", NOT_PROVEN)
    except ServingError as error:
        fail(str(error))
