"""HTTP/1.1, and nothing else."""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import h11
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from .limits import ServerLimits
from .problems import problem

__all__ = ["HTTP11"]

_ABSOLUTE = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)


class HTTP11(H11Protocol):
    """Hypercorn's protocol without its two doors to others, and with one that stays open.

    - `Upgrade`, to HTTP/2 or WebSocket, is ignored, as RFC 9110, section 7.8 allows; HTTP/2 by
      prior knowledge is refused.
    - While a request is being answered, what the client sends is read and kept, up to a bound; a
      reader that stopped would not see that the client left.
    """

    def __init__(self, limits: ServerLimits, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self._closed = False
        self._refused = False

    @property
    def expects_more(self) -> bool:
        """Whether the client may be in the middle of a request that was answered already."""
        return self._refused or self.connection.their_state is h11.SEND_BODY

    @property
    def ends_too_early(self) -> bool:
        """Whether an answer is only a part, and the end of the connection would pass for its."""
        connection: Any = self.connection
        return connection.our_state is h11.SEND_BODY and connection.their_http_version == b"1.0"

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._closed = True
        await super().handle(event)

    async def _handle_events(self) -> None:
        # Two tasks may be here, the one that reads and one that has just answered. Between taking
        # an event and having its stream there is no checkpoint, so they take turns.
        while True:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(
                    h11.InformationalResponse(
                        status_code=100, headers=self.config.response_headers("h11")
                    )
                )
            try:
                # Of what follows a request that was to be the last, nothing is looked at.
                is_last = self.connection.their_state is h11.MUST_CLOSE
                event = h11.PAUSED if is_last else self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(HTTPStatus(error.error_status_hint), str(error))
                return
            if isinstance(event, h11.Request):
                event = _in_origin_form(event)
                if event.http_version not in (b"1.0", b"1.1"):
                    await self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "speak HTTP/1.1")
                    return
                if fault := _fault(event):
                    await self._refuse(HTTPStatus.BAD_REQUEST, fault)
                    return
                if _content_length(event) > self._limits.max_body and not self._is_streamed(event):
                    limit = f"a request's body has at most {self._limits.max_body} bytes"
                    await self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, limit)
                    return
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif event is h11.PAUSED:
                if len(self.connection.trailing_data[0]) > self._limits.read_ahead:
                    await self.send(Closed())
                return
            elif isinstance(event, h11.Data) and (stream := self.stream) is not None:
                data, ended = self._data_at_hand(event)
                await stream.handle(Body(stream_id=STREAM_ID, data=data))
                if ended:
                    # Of this one, whatever came of it meanwhile.
                    await stream.handle(EndBody(stream_id=STREAM_ID))
            elif isinstance(event, h11.EndOfMessage) and self.stream is not None:
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            else:  # needs more data, or the stream or the connection is closed
                return

    def _data_at_hand(self, first: h11.Data) -> tuple[bytes, bool]:
        """The data of all chunks that were read, and whether the last one is among them. Handed on
        one by one, chunks of a line each took twenty times as long."""
        pieces = [bytes(first.data)]
        with suppress(h11.RemoteProtocolError):  # raised again when the next event is asked for
            while isinstance(event := self.connection.next_event(), h11.Data):
                pieces.append(bytes(event.data))
            return b"".join(pieces), isinstance(event, h11.EndOfMessage)
        return b"".join(pieces), False

    def _is_streamed(self, request: h11.Request) -> bool:
        return bool(self._limits.streamed.fullmatch(request.method + b" " + request.target))

    async def _refuse(self, status: HTTPStatus, detail: str) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            # Past h11, since the app may be about to answer, too, and now can't any more.
            self.connection.send_failed()
            self._refused = True
            await self.send(RawData(problem(status, detail)))
        await self.send(Closed())

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.keep_alive_requests += 1
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def _maybe_recycle(self) -> None:
        if self._closed:
            # A request that was read before the client left has nobody to answer to.
            await self._close_stream()
            return
        await super()._maybe_recycle()
        if self.connection.our_state is h11.IDLE and self.connection.trailing_data[0]:
            # The next request was there before this one was answered.
            await self._handle_events()


def _fault(request: h11.Request) -> str | None:
    """What can't be meant so, or what a proxy in front may understand in another way, so that one
    request would pass for two; see RFC 9112, sections 3.2 and 6.1."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            return "give Content-Length or Transfer-Encoding, not both"
        if request.http_version == b"1.0":
            return "HTTP/1.0 has no Transfer-Encoding"
    if not request.method.isupper():
        # They are case-sensitive, and what is behind us does not mind, which is one reading each.
        return "methods are written in capitals"
    if not request.target.startswith(b"/") and request.target != b"*":
        return "the target of a request begins with a slash"
    return None


def _in_origin_form(request: h11.Request) -> h11.Request:
    """The request as most clients would have written it: with the host in a header alone, which
    it wins over; see RFC 9112, section 3.2.2."""
    absolute = _ABSOLUTE.match(request.target)
    if absolute is None:
        return request
    path = request.target[absolute.end() :]
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=path if path.startswith(b"/") else b"/" + path,
        headers=[(b"host", absolute[1]), *others],
        http_version=request.http_version,
    )


def _content_length(request: h11.Request) -> int:
    """What the client says that it will send; 0 if it does not say. h11 has checked it."""
    return next((int(value) for name, value in request.headers if name == b"content-length"), 0)
