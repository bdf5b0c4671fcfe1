"""HTTP/1.1, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import unquote

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from .app_queue import put, put_nowait
from .body_bound import BodyBound, too_long
from .limits import ServerLimits
from .problems import Refusal, problem
from .requests import content_length, fault, in_origin_form

__all__ = ["HTTP11", "BodyLimit"]

BodyLimit: TypeAlias = Callable[[str, str], int | None]
"""Gives the bytes that the body of a request may have, or None for any number. The arguments are
the method and the path, decoded and without the query, as an ASGI scope has them."""

AHEAD_SECONDS = 1.0
"""How long an answer may take to end once the client has sent more than it may meanwhile. The
server does not read then, so it sees a disconnect as much later."""

EVENTS_AT_ONCE = 32
"""Chunks of a body that are parsed in one step, at 12 microseconds each. A body of one byte a chunk
would otherwise delay all other connections, by a tenth of a second for each 64 KiB."""


class HTTP11(H11Protocol):
    """Hypercorn's protocol without its switches to other protocols, and always reading.

    - `Upgrade`, to HTTP/2 or WebSocket, is ignored, as RFC 9110, section 7.8 allows; HTTP/2 by
      prior knowledge is refused.
    - While a request is being answered, bytes that the client sends are read and kept, up to a
      bound: a reader that stopped would not see the disconnect.
    """

    def __init__(
        self,
        limits: ServerLimits,
        body_limit: BodyLimit | None,
        on_refusal: Callable[[Refusal], None] | None,
        *arguments: Any,
    ) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self._body_limit = body_limit
        self._on_refusal = on_refusal
        self._closed = False
        self._refused = False
        # Of the current request's body.
        self._body = BodyBound()

    @property
    def expects_more(self) -> bool:
        """Whether the client may still be sending a request that was answered already."""
        return self._refused or self.connection.their_state is h11.SEND_BODY

    @property
    def has_part(self) -> bool:
        """Whether a part of the next request has arrived."""
        return bool(self.connection.trailing_data[0])

    @property
    def ends_too_early(self) -> bool:
        """Whether an answer is cut, and a close of the connection would look like its end."""
        connection: Any = self.connection
        return connection.our_state is h11.SEND_BODY and connection.their_http_version == b"1.0"

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self._closed = True
        await super().handle(event)

    async def _handle_events(self) -> None:
        # Two tasks may be here: the reader, and one that has just answered. There is no checkpoint
        # between taking an event and creating its stream, so they take turns.
        while True:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(
                    h11.InformationalResponse(
                        status_code=100, headers=self.config.response_headers("h11")
                    )
                )
            try:
                # Bytes after a request with `Connection: close` are ignored.
                is_last = self.connection.their_state is h11.MUST_CLOSE
                event = h11.PAUSED if is_last else self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(None, HTTPStatus(error.error_status_hint), str(error))
                return
            if isinstance(event, h11.Request):
                event = in_origin_form(event)
                if event.http_version not in (b"1.0", b"1.1"):
                    unknown = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
                    await self._refuse(event, unknown, "speak HTTP/1.1")
                    return
                if malformed := fault(event):
                    await self._refuse(event, HTTPStatus.BAD_REQUEST, malformed)
                    return
                if too_large := self._too_large(event):
                    await self._refuse(event, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large)
                    return
                await self.send(Updated(idle=False))
                await self._create_stream(event)
            elif event is h11.PAUSED:
                if len(self.connection.trailing_data[0]) <= self._limits.read_ahead:
                    return
                # The client may have the whole answer, and send the next request, before this side
                # has done with it.
                await self.can_read.clear()
                with trio.move_on_after(0 if is_last else AHEAD_SECONDS) as waiting:
                    await self.can_read.wait()
                if waiting.cancelled_caught:
                    await self.send(Closed())
                    return
            elif isinstance(event, h11.Data) and (stream := self.stream) is not None:
                data, ended = await self._data_at_hand(event)
                if self._closed:
                    # The app has answered without the rest of the body.
                    return
                if refusal := self._body.fault():
                    await self._refuse(None, *refusal)
                    return
                await put(stream.handle, Body(stream_id=STREAM_ID, data=data))
                if ended:
                    # The end of this stream, even if another one has begun meanwhile.
                    await put(stream.handle, EndBody(stream_id=STREAM_ID))
            elif isinstance(event, h11.EndOfMessage) and self.stream is not None:
                await put(self.stream.handle, EndBody(stream_id=STREAM_ID))
            else:  # needs more data, or the stream or the connection is closed
                return

    async def _data_at_hand(self, first: h11.Data) -> tuple[bytes, bool]:
        """The data of all chunks that were read, and whether the last one is among them. Chunks of
        one line each took twenty times as long when they were passed on one by one. It stops when
        the connection is closed, or the body is refused."""
        pieces: list[bytes] = []
        event: Any = first
        with suppress(h11.RemoteProtocolError):  # the next call of `next_event` raises it again
            while isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                self._body.add(len(event.data))
                if self._body.chunks % EVENTS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
                    if self._closed or self._body.fault():
                        break
                event = self.connection.next_event()
        return b"".join(pieces), isinstance(event, h11.EndOfMessage)

    def _too_large(self, request: h11.Request) -> str | None:
        """Why the declared body is too large. The client has not sent it yet, nor been told to by
        a 100. `BodyBound` counts the bytes of a chunked body."""
        self._body = BodyBound()
        names = {name for name, _ in request.headers}
        if self._body_limit is None or not names & {b"content-length", b"transfer-encoding"}:
            return None
        path = unquote(request.target.partition(b"?")[0].decode("ascii"))
        limit = self._body_limit(request.method.decode("ascii"), path)
        self._body = BodyBound(limit)
        if limit is None or content_length(request) <= limit:
            return None
        return too_long(limit)

    async def _send_h11_event(self, event: Any) -> None:
        # The app may answer before it hears that its request was refused.
        if not self._refused:
            await super()._send_h11_event(event)

    async def _refuse(self, request: h11.Request | None, status: HTTPStatus, detail: str) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            # Past h11: the app may be about to answer, and must not any more.
            self.connection.send_failed()
            self._refused = True
            answer = problem(status, detail)
            if self._on_refusal is not None:
                is_late = self.stream is not None
                self._on_refusal(Refusal(self.client, request, status, answer, is_late))
            await self.send(RawData(answer))
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

    async def _close_stream(self) -> None:
        """Tell the app of the disconnect, or of the end of its answer.

        It never waits until the app has taken the body so far. The caller may be a final send,
        which is shielded, of an app that takes no more; or hold up other clients that disconnect.
        """
        stream, self.stream = self.stream, None
        if stream is None or stream.closed:
            return
        stream.closed = True
        disconnect = {"type": "http.disconnect"}
        if not put_nowait(stream.app_put, disconnect):
            self.task_group.spawn(put, stream.app_put, disconnect)
        # Of clients that disconnect together, only some may wake their apps in one turn.
        await trio.lowlevel.checkpoint()

    async def _maybe_recycle(self) -> None:
        if self._closed:
            # The client disconnected, so a request that was read before has no reader.
            await self._close_stream()
            await self.can_read.set()
            return
        await super()._maybe_recycle()
        if self.connection.our_state is h11.IDLE and self.has_part:
            # The next request arrived before this one was answered.
            await self._handle_events()
