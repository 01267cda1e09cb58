"""From a job to its certificate: the blocking part, which a process of its own runs."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from certisolve_server import errors
from certisolve_server.broker.envelope import decode_job
from certisolve_server.certifier import errors as certifier_errors
from certisolve_server.certifier.certificate import Certificate
from certisolve_server.jobs import Artifact, ModelKey, SolveJob

from . import question, reply
from .admission import check_subject
from .programs import Programs
from .request import BallDomain, BoxDomain, CertifyRequest
from .search import search
from .subjects import Subject, open_subject
from .subjects.regions import region
from .subjects.variables import variables
from .teller import Teller
from .version import CERTIFIER

_MAX_SUBJECTS = 16
#: Takes a certificate that may get better: without its evidence, and whole.
Tell = Callable[[bytes, bytes], None]


class Prover:
    """Answers jobs, and keeps what further ones of the same models and maps need again."""

    def __init__(self) -> None:
        self._programs = Programs()
        self._subjects: OrderedDict[str, Subject] = OrderedDict()

    def prove(self, record: bytes, *, directory: str, budget_s: float, tell: Tell) -> bytes:
        """The certificate of a job, as JSON.

        Args:
            record: of the job.
            directory: of its artifact.
            budget_s: seconds to search, not more than the job says.
            tell: called in another thread while the search goes on.

        Raises:
            ServingError: nothing can be certified, and why.
        """
        job = decode_job(record, deadline=None)
        request = replace(_request_of(job), budget_s=budget_s)
        with refusals():
            subject = self._subject(request, job.model, Path(directory))

            def said(certificate: Certificate) -> bytes:
                return reply.encode(reply.document(certificate, subject, request, job.model))

            def tell_news(certificate: Certificate) -> None:
                document = reply.document(certificate, subject, request, job.model)
                tell(reply.brief(document), reply.encode(document))

            with Teller(tell_news) as teller:
                certificate = search(subject, request, teller)
        return said(certificate)

    def _subject(self, request: CertifyRequest, model: ModelKey, directory: Path) -> Subject:
        artifact, program = self._programs.load(model, directory)
        key = _map_key(request, model)
        known = self._subjects.get(key)
        if known is None:
            known = self._subjects[key] = open_subject(request, artifact.manifest, program)
            if len(self._subjects) > _MAX_SUBJECTS:
                self._subjects.popitem(last=False)
            return known
        self._subjects.move_to_end(key)
        return _elsewhere(known, request, artifact)


@contextmanager
def refusals() -> Iterator[None]:
    """Tell in the server's words why nothing is certified.

    Raises:
        ServingError: instead of what the certifier or the allocator raised.
    """
    try:
        yield
    except certifier_errors.UnsupportedOperator as error:
        raise errors.UnsupportedOperator(str(error)) from error
    except certifier_errors.PossiblyDiscontinuous as error:
        raise errors.PossiblyDiscontinuous(str(error)) from error
    except certifier_errors.NotCertified as error:
        raise errors.NotCertified(str(error)) from error
    except certifier_errors.InvalidRequest as error:
        raise errors.InvalidOption(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not certifier_errors.is_out_of_memory(error):
            raise
        raise errors.NotCertified("it takes more memory than a prover may have") from error


def _request_of(job: SolveJob) -> CertifyRequest:
    try:
        return question.decode(question.Question(job.work.question, job.inputs))
    except (LookupError, TypeError, ValueError) as error:
        raise errors.InternalError("a damaged question in the queue") from error


def _map_key(request: CertifyRequest, model: ModelKey) -> str:
    """Of the map and its norms, wherever the inputs lie."""
    domain = request.domain
    if isinstance(domain, BallDomain | BoxDomain):
        corner = domain.center if isinstance(domain, BallDomain) else domain.lower
        zeros = {name: np.zeros(array.shape) for name, array in corner.items()}
        domain = BoxDomain(zeros, zeros)
    inputs, outputs = request.norms
    asked = replace(request, domain=domain, input_norm=inputs, output_norm=outputs)
    return question.key(question.encode(asked), model, CERTIFIER)


def _elsewhere(known: Subject, request: CertifyRequest, artifact: Artifact) -> Subject:
    """The same map and norms on another set."""
    manifest = artifact.manifest
    checked = check_subject(request, manifest)
    return known.on(region(checked, manifest, variables(checked, manifest)))
