"""The document as a page of plain HTML, which is made once.

The page has no script and loads nothing. So it works without a network, and its policy allows only
its own style.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

__all__ = ["render_page"]

_FOLDER = Path(__file__).parent
_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "minItems", "minLength", "maxLength")


def render_page(document: dict[str, Any]) -> tuple[bytes, str]:
    """The page of an OpenAPI document, and the Content-Security-Policy to serve it with."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "prose": _prose,
        "resolve": partial(_resolve, document),
        "type": _type,
        "example": _example,
        "phrase": lambda status: HTTPStatus(int(status)).phrase,
    }
    template = environment.from_string(_FOLDER.joinpath("page.html").read_text())
    style = _FOLDER.joinpath("page.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    page = template.render(document=document, style=Markup(style))  # our own file
    return page.encode(), f"{policy}; frame-ancestors 'none'"


def _prose(text: str) -> Markup:
    """Paragraphs of HTML, with text between backticks as code."""
    paragraphs = [f"<p>{escape(paragraph)}</p>" for paragraph in text.split("\n\n")]
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", "\n".join(paragraphs)))


def _resolve(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """The part of the document that `part` refers to, or `part` itself."""
    found = document if "$ref" in part else part
    for name in part.get("$ref", "#").split("/")[1:]:
        found = found[name]
    return found


def _type(schema: dict[str, Any]) -> Markup:
    """A schema in words: `string, at most 200 characters` and the like."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(map(_type, schema["anyOf"]))
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices:
        return Markup(" | ").join(Markup("<code>{}</code>").format(choice) for choice in choices)
    if "description" in schema:
        return escape(schema["description"])
    kinds = schema.get("type", "any")
    words = Markup(
        schema.get("format") or (kinds if isinstance(kinds, str) else " or ".join(kinds))
    )
    if "items" in schema:
        words += Markup(" of {}").format(_type(schema["items"]))
    elif isinstance(schema.get("additionalProperties"), dict):
        words += Markup(" of {}").format(_type(schema["additionalProperties"]))
    elif "pattern" in schema:
        words += Markup(" <code>{}</code>").format(schema["pattern"])
    for limit in _LIMITS:
        if limit in schema:
            words += f", {limit} {schema[limit]}"
    return words


def _example(value: Any) -> str:
    """An example as it goes over the wire, or as JSON to read."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
