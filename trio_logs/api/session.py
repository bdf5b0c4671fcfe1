"""The routes by which a browser signs in and out, and by which it gets a link for a download."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec
from quart import Response, request

from ..errors import InvalidRequestError, InvalidSpecError
from ..records import now, rfc3339
from ..sessions import CODE_SECONDS, DOWNLOAD_SECONDS
from ..store.sessions import Session
from .answers import NotFoundError, json_response, no_content
from .auth import (
    Access,
    ForbiddenError,
    UnauthorizedError,
    authenticate,
    current_access,
    download_target,
)
from .openapi import session as described
from .query import accepted, parse_log_query
from .routes import AppContext, route
from .session_bodies import (
    CodeRequest,
    CodeState,
    OneTimeCode,
    SessionKey,
    SessionState,
    SignIn,
)
from .workloads import decode

__all__ = ["ROUTES"]


SIGN_IN_BYTES = 4096
"""The most bytes of the body of a sign-in. The service reads it before it knows a code or a token,
so any client may have the service hold it."""

CODE_BYTES = 16 * 1024
"""The most bytes of the body for a code, which may have a download of 8,192 characters."""


# Open: with a code, a sign-in needs no token. Without one, the view checks the token.
@route("POST", "/v1/session", described.SIGN_IN, is_open=True, max_body=SIGN_IN_BYTES)
async def sign_in(context: AppContext) -> Response:
    data = await request.get_data()
    code = (decode(data, SignIn) if data.strip() else SignIn()).code
    sessions = context.service.sessions
    if code is msgspec.UNSET:
        access = await authenticate(context.service)
        if access.session is not None:
            # It would outlive the session that made it.
            raise ForbiddenError(
                "a session can't make another one: send a code, or the token of this service"
            )
        key, session = await sessions.start(read_only=access.read_only)
    else:
        made = await sessions.sign_in(code)
        if made is None:
            raise UnauthorizedError(
                "the code is wrong, was used, or has expired: `trio-logs open` makes a new one"
            )
        key, session = made
    return json_response(
        SessionKey(key, rfc3339(session.expires_at), session.read_only),
        201,
    )


@route("GET", "/v1/session", described.SHOW)
async def show(context: AppContext) -> Response:
    session = _session(current_access())
    return json_response(SessionState(rfc3339(session.expires_at), session.read_only))


@route("DELETE", "/v1/session", described.SIGN_OUT, is_for_all=True)
async def sign_out(context: AppContext) -> Response:
    await context.service.sessions.end(_session(current_access()))
    return no_content()


@route("POST", "/v1/session/codes", described.MAKE_CODE, is_for_all=True, max_body=CODE_BYTES)
async def make_code(context: AppContext) -> Response:
    data = await request.get_data()
    body = decode(data, CodeRequest) if data.strip() else CodeRequest()
    access = current_access()
    target = None if body.download is msgspec.UNSET else _download(body.download)
    if target is None and access.session is not None:
        raise ForbiddenError(
            "a session can make codes for downloads only: send the token of this service"
        )
    secret, code = await context.service.sessions.make_code(
        read_only=access.read_only,
        seconds=CODE_SECONDS if target is None else DOWNLOAD_SECONDS,
        download=target,
        session=access.session,
    )
    origin = _origin(context)
    path = f"/#code={secret}" if target is None else f"{target}&code={secret}"
    answer = OneTimeCode(secret, rfc3339(code.expires_at), origin and origin + path)
    return json_response(answer, 201, {"Location": f"/v1/session/codes/{code.id.hex()}"})


@route("GET", "/v1/session/codes/{code_id}", described.SHOW_CODE)
async def show_code(context: AppContext, code_id: str) -> Response:
    try:
        code = await context.service.sessions.code(bytes.fromhex(code_id))
    except ValueError:
        code = None
    if code is None:
        raise NotFoundError("there is no such code: it was used, or has expired")
    return json_response(CodeState(rfc3339(code.expires_at)))


ROUTES = (sign_in, show, sign_out, make_code, show_code)


def _session(access: Access) -> Session:
    """The session of a request. Raises NotFoundError if it sent a token."""
    if access.session is None:
        raise NotFoundError("the request has a token, and no session: sign in to have one")
    return access.session


def _download(path: str) -> str:
    """What a code opens, from the path and query of a log. Raises InvalidSpecError."""
    log, _, query = path.partition("?")
    # As the app reads the parameters of a request.
    given = parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote")
    try:
        asked = parse_log_query(given, accepted([]), None, now())
    except InvalidRequestError as error:
        raise InvalidSpecError(f"download: {error}") from error
    if asked.download is None or any(name == "code" for name, _ in given):
        raise InvalidSpecError(
            "download: give the log with the parameter `download`, and without `code`"
        )
    return download_target(log.split("/")[3], given)


def _origin(context: AppContext) -> str | None:
    """Where a browser finds the service, or None if the service can't know that."""
    if context.service.settings.public_url is not None:
        return context.service.settings.public_url
    host = request.headers.get("Host")
    # A client at a unix socket has no address.
    if not host or request.scope.get("client") is None:
        return None
    return f"{request.scheme}://{host}"
