"""The gRPC transports, for who needs own credentials; needs the extra `grpc`.

`Client("grpcs://…")` makes one by itself. This module is for
`Client(url, transport=GrpcTransport(url, credentials=…))`.
"""

from ._transports.grpc import AsyncGrpcTransport as AsyncGrpcTransport
from ._transports.grpc import GrpcTransport as GrpcTransport

__all__ = ["AsyncGrpcTransport", "GrpcTransport"]
