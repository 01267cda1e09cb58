"""The gRPC service of certificates: convert, call the data plane, convert back."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from certisolve.v1 import certifier_pb2, certifier_pb2_grpc
from certisolve_server.dataplane import DataPlane

from .certify_codec import to_certify_request
from .messages import to_certify_reply
from .rpc import Context, MoreServices, problems, terms_of


def certifier_service(dataplane: DataPlane) -> MoreServices:
    """What serves certificates over gRPC."""
    service = certifier_pb2.DESCRIPTOR.services_by_name["CertifierService"]
    return MoreServices(
        certifier_pb2_grpc.add_CertifierServiceServicer_to_server,
        CertifierServicer(dataplane),
        service.full_name,
    )


class CertifierServicer(certifier_pb2_grpc.CertifierServiceServicer):
    """certisolve.v1.CertifierService."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane

    async def Certify(
        self, request: certifier_pb2.CertifyRequest, context: Context
    ) -> certifier_pb2.CertifyReply:
        async with problems(context):
            terms = terms_of(context, context.time_remaining())
            asked = to_certify_request(request, self._dataplane.limits.max_body_bytes)
            return to_certify_reply(await self._dataplane.certify(asked, terms))

    async def CertifyStream(
        self, request: certifier_pb2.CertifyRequest, context: Context
    ) -> AsyncIterator[certifier_pb2.CertifyReply]:
        async with problems(context):
            terms = terms_of(context, context.time_remaining())
            asked = to_certify_request(request, self._dataplane.limits.max_body_bytes)
            async with aclosing(await self._dataplane.certify_stream(asked, terms)) as told:
                async for certified in told:
                    yield to_certify_reply(certified)
