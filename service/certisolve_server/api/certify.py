"""Certificates over HTTP: convert, call the data plane, convert back."""

import time

from starlette.requests import Request
from starlette.responses import Response

from certisolve_server.answers import Certified
from certisolve_server.dataplane import DataPlane, JobView

from . import codec
from .certify_codec import decode, encode
from .disconnects import CancelledOnDisconnect
from .documents import job_document
from .exchange import encoded_response, headers_of, json_response, media_type_of, read_body
from .preferences import NO_PREFERENCES, read_preferences
from .rest import tell_applied
from .terms import read_terms


async def certify(request: Request) -> Response:
    """Answer with a certificate; with a job when the client prefers one, or would wait too long."""
    dataplane: DataPlane = request.app.state.dataplane
    headers = headers_of(request)
    terms = read_terms(headers, time.time())
    preferences = read_preferences(headers.get("prefer"))
    media_type = media_type_of(headers)
    body = await read_body(request, headers, dataplane.limits.max_body_bytes)
    asked = decode(request.path_params["model"], media_type, body)
    if preferences.respond_async and preferences.wait_s is None:
        answer: Certified | JobView = await dataplane.submit_certify(asked, terms)
    else:
        with CancelledOnDisconnect(request):
            answer = await dataplane.certify_within(asked, terms, preferences.wait_s)
    response = _answer(answer, codec.preferred_type(headers.get("accept"), media_type))
    if preferences is not NO_PREFERENCES:
        tell_applied(response, preferences, terms, dataplane.limits.max_wait_s)
    return response


def _answer(answer: Certified | JobView, media_type: str) -> Response:
    if isinstance(answer, Certified):
        return encoded_response(encode(answer, media_type))
    response = json_response(job_document(answer), 202)
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return response
