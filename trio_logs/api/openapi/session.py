"""The operations of sign-in."""

from __future__ import annotations

from typing import Any

from .parts import answer, header, json_answer, parameter, ref, refer_to_problems, text
from .workloads import ID, json_body

__all__ = ["CODE_ID", "MAKE_CODE", "SHOW", "SHOW_CODE", "SIGN_IN", "SIGN_OUT"]

Operation = dict[str, Any]

_CODE = "Vfs6uTTWHZUCzmUO2Bxpyg"
_STATE = {"expires_at": "2026-02-07T12:00:00.000001Z", "read_only": False}
_SOON = "2026-01-31T12:10:00.000001Z"
_HASH = "5d1f0c2b9a7e4836" * 4

CODE_ID = parameter(
    "code_id",
    "The last part of the `Location` that came with the code.",
    text("^[0-9a-f]{64}$"),
    where="path",
)

SIGN_IN: Operation = {
    "operationId": "signIn",
    "tags": ["session"],
    "summary": "Sign a browser in",
    "description": "With `code`, the request needs no token; a code works once. Without it, the"
    " request needs the token, and no body. The session has the rights of the token that it or its"
    " code was made with. It ends 7 days after its last use, and after 90 days at most, by a"
    " sign-out, and when the service runs with another token. An open stream is use. With the key"
    " of a session instead of the token: 403.",
    "security": [{}, {"token": []}],
    "requestBody": json_body("SignIn", "May be left out.", {"code": _CODE}, required=False),
    "responses": {
        "201": json_answer(
            "The new session.",
            ref("SessionKey"),
            {"key": "P0JmzQGbTHr9VRPu1hDqxA", **_STATE},
        ),
        **refer_to_problems(400, 401, 403, 413, 415, 421, 422, 503),
    },
}

SHOW: Operation = {
    "operationId": "showSession",
    "tags": ["session"],
    "summary": "Look at the session whose key is sent",
    "description": "With a token, there is no session: 404.",
    "responses": {
        "200": json_answer("The session.", ref("SessionState"), _STATE),
        **refer_to_problems(401, 404, 421, 503),
    },
}

SIGN_OUT: Operation = {
    "operationId": "signOut",
    "tags": ["session"],
    "summary": "End the session whose key is sent",
    "description": "Its streams end within a second, without their terminal chunks. With a token,"
    " there is no session: 404.",
    "responses": {
        "204": answer("The key is of no use any more."),
        **refer_to_problems(401, 404, 421, 503),
    },
}

MAKE_CODE: Operation = {
    "operationId": "makeCode",
    "tags": ["session"],
    "summary": "Make a code that works once",
    "description": "A code for a sign-in works within 10 minutes. With `download`, the code opens"
    " that one answer within a minute, as its parameter `code`. With the key of a session, only"
    " codes for downloads can be made; others are 403. The service keeps 100 codes.",
    "requestBody": json_body(
        "CodeRequest",
        "May be left out.",
        {"download": f"/v1/workloads/{ID}/logs?download=build.log"},
        required=False,
    ),
    "responses": {
        "201": json_answer(
            "The code.",
            ref("OneTimeCode"),
            {
                "code": _CODE,
                "expires_at": _SOON,
                "url": f"https://logs.example.com/#code={_CODE}",
            },
            {
                "Location": header(
                    "A path that answers 404 once the code is used.",
                    {**text(), "format": "uri-reference"},
                    f"/v1/session/codes/{_HASH}",
                )
            },
        ),
        **refer_to_problems(400, 401, 403, 413, 415, 421, 422, 503),
    },
}

SHOW_CODE: Operation = {
    "operationId": "showCode",
    "tags": ["session"],
    "summary": "Ask whether a code was used",
    "responses": {
        "200": json_answer(
            "The code was not used, and has not expired.",
            ref("CodeState"),
            {"expires_at": _SOON},
        ),
        **refer_to_problems(401, 404, 421, 503),
    },
}
