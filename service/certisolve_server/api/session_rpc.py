"""The gRPC service of sessions: convert, call the session plane, convert back."""

from collections.abc import AsyncIterator

from google.protobuf.message import Message

from certisolve.v1 import session_pb2, session_pb2_grpc, solve_pb2
from certisolve_server.errors import BodyTooLarge, InvalidOption, MalformedBody, ServingError
from certisolve_server.jobs import Terms
from certisolve_server.sessionplane import SessionPlane
from certisolve_server.sessions.info import SessionInfo

from .messages import to_problem, to_reply
from .rpc import Context, MoreServices, problems, terms_of
from .session_messages import to_observation, to_opening, to_session


def session_service(plane: SessionPlane) -> MoreServices:
    """What serves sessions over gRPC."""
    service = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
    return MoreServices(
        session_pb2_grpc.add_SessionServiceServicer_to_server,
        SessionServicer(plane),
        service.full_name,
    )


class SessionServicer(session_pb2_grpc.SessionServiceServicer):
    """certisolve.v1.SessionService."""

    def __init__(self, plane: SessionPlane) -> None:
        self._plane = plane

    async def Open(
        self, request: session_pb2.OpenSession, context: Context
    ) -> session_pb2.SessionInfo:
        async with problems(context):
            self._check_size(request)
            terms = terms_of(context, context.time_remaining())
            return to_session(await self._plane.open(to_opening(request, terms)))

    async def Restore(
        self, request: session_pb2.SessionSnapshot, context: Context
    ) -> session_pb2.SessionInfo:
        async with problems(context):
            self._check_size(request)
            return to_session(await self._plane.restore(request.data))

    async def Get(
        self, request: session_pb2.SessionRequest, context: Context
    ) -> session_pb2.SessionInfo:
        async with problems(context):
            return to_session(await self._plane.get(request.id))

    async def Observe(
        self, request: session_pb2.ObserveRequest, context: Context
    ) -> session_pb2.SessionInfo:
        async with problems(context):
            self._check_size(request)
            terms = terms_of(context, context.time_remaining())
            observation = to_observation(request.measurements)
            return to_session(await self._plane.observe(request.id, observation, terms))

    async def Predict(
        self, request: session_pb2.PredictRequest, context: Context
    ) -> solve_pb2.SolveReply:
        async with problems(context):
            terms = terms_of(context, context.time_remaining())
            return to_reply(await self._plane.predict(request.id, request.t, terms))

    async def Snapshot(
        self, request: session_pb2.SessionRequest, context: Context
    ) -> session_pb2.SessionSnapshot:
        async with problems(context):
            return session_pb2.SessionSnapshot(data=await self._plane.snapshot(request.id))

    async def Close(
        self, request: session_pb2.SessionRequest, context: Context
    ) -> session_pb2.CloseReply:
        async with problems(context):
            await self._plane.close(request.id)
            return session_pb2.CloseReply()

    async def Converse(
        self, request_iterator: AsyncIterator[session_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[session_pb2.ConverseReply]:
        async with problems(context):
            # The time limit of a conversation is not that of what is said in it.
            conversation = _Conversation(self._plane, terms_of(context, None))
            async for request in request_iterator:
                try:
                    self._check_size(request)
                    reply = await conversation.answer(request)
                except ServingError as error:
                    reply = session_pb2.ConverseReply(problem=to_problem(error))
                reply.tag = request.tag
                yield reply

    def _check_size(self, message: Message) -> None:
        limit = self._plane.limits.max_body_bytes
        if message.ByteSize() > limit:
            raise BodyTooLarge(f"the message may have {limit} bytes")


class _Conversation:
    """Calls to one session, one after the other.

    Arguments:
        plane: where they go.
        terms: of all of them.
    """

    def __init__(self, plane: SessionPlane, terms: Terms) -> None:
        self._plane = plane
        self._terms = terms
        self._id = ""

    async def answer(self, request: session_pb2.ConverseRequest) -> session_pb2.ConverseReply:
        """The reply to one message, without its tag.

        Raises:
            ServingError: refused; the conversation may go on.
        """
        reply = session_pb2.ConverseReply
        match request.WhichOneof("ask"):
            case "open":
                return self._begin(await self._plane.open(to_opening(request.open, self._terms)))
            case "restore":
                return self._begin(await self._plane.restore(request.restore.data))
            case "attach":
                return self._begin(await self._plane.get(request.attach.id))
            case "observe":
                observation = to_observation(request.observe)
                info = await self._plane.observe(self._session(), observation, self._terms)
                return reply(info=to_session(info))
            case "predict":
                session_id = request.predict.id or self._session()
                forecast = await self._plane.predict(session_id, request.predict.t, self._terms)
                return reply(forecast=to_reply(forecast))
            case "snapshot":
                data = await self._plane.snapshot(request.snapshot.id or self._session())
                return reply(snapshot=session_pb2.SessionSnapshot(data=data))
            case "close":
                await self._plane.close(request.close.id or self._session())
                return reply(closed=session_pb2.CloseReply())
            case _:
                raise MalformedBody("the message asks for nothing")

    def _begin(self, info: SessionInfo) -> session_pb2.ConverseReply:
        self._id = info.id
        return session_pb2.ConverseReply(info=to_session(info))

    def _session(self) -> str:
        if not self._id:
            raise InvalidOption("begin with open, attach or restore", field="ask")
        return self._id
