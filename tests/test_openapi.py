"""The description of the HTTP side: it is complete, valid, and readable without anything else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.sync_api import sync_playwright

from tests.conformance import hold_against_description
from tests.live import PATIENCE, Live
from tests.test_clients import CHROMIUM_ARGUMENTS, _program
from trio_logs.api import create_app
from trio_logs.api.list_query import PAGE_PARAMETERS
from trio_logs.api.parameters import SELECTION
from trio_logs.api.query import ALIASES, NAMES
from trio_logs.api.search_parameters import SEARCH_PARAMETERS
from trio_logs.api.several_query import NAMES as SEVERAL

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


@pytest.fixture
async def document(live: Live) -> dict[str, Any]:
    answer = await live.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def names(document: dict[str, Any], path: str, where: str) -> set[str]:
    """The parameters of a path's GET that are in the query, or elsewhere."""
    parameters = document["paths"][path]["get"]["parameters"]
    return {each["name"] for each in parameters if each["in"] == where}


async def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_it_names_each_route_and_no_other(live: Live, document: dict[str, Any]) -> None:
    routes = {
        (method, re.sub("<(.*?)>", r"{\1}", rule.rule))
        for rule in create_app(live.service).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static"
    }
    assert operations(document).keys() == routes


async def test_it_names_each_parameter_and_no_other(document: dict[str, Any]) -> None:
    assert names(document, "/v1/workloads", "query") == set(PAGE_PARAMETERS)
    logs = "/v1/workloads/{workload_id}/logs"
    assert names(document, logs, "query") == NAMES
    # Each once, or a program may send a parameter under two names.
    assert all(f"`{name}`" in document["paths"][logs]["get"]["description"] for name in ALIASES)
    assert names(document, logs, "header") == {"Last-Event-ID"}
    assert names(document, "/v1/workloads/{workload_id}/matches", "query") == set(SELECTION)
    assert names(document, "/v1/search", "query") == set(SEARCH_PARAMETERS)
    assert names(document, "/v1/logs", "query") == SEVERAL
    assert names(document, "/v1/logs", "header") == {"Last-Event-ID"}


def walk(part: Any) -> Iterator[dict[str, Any]]:
    """Each object of a document, but for what is in its examples."""
    if isinstance(part, list):
        for each in part:
            yield from walk(each)
    elif isinstance(part, dict):
        yield part
        for name, each in part.items():
            if name != "example":
                yield from walk(each)


async def test_its_examples_are_valid(document: dict[str, Any]) -> None:
    parts = list(walk(document["paths"])) + list(walk(document["components"]))
    with_example = [part for part in parts if "example" in part]
    for part in with_example:
        # References start at the document's root.
        schema = {**part["schema"], "components": document["components"]}
        OAS31Validator(schema).validate(part["example"])
    bodies = [body for part in parts for body in part.get("content", {}).values()]
    assert all(body in with_example for body in bodies)
    assert len(with_example) > len(bodies) > 20


async def test_only_what_needs_a_token_says_so(live: Live, document: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(base_url=live.url) as client:
        for (method, path), operation in operations(document).items():
            answer = await client.request(method, path.replace("{workload_id}", "x"))
            # Without a body, a sign-in needs the token, too.
            is_open = operation.get("security") == []
            assert (answer.status_code == 401) != is_open, path
            assert ("401" in operation["responses"]) != is_open, path


async def test_both_are_like_other_routes(live: Live) -> None:
    for path in ("/openapi.json", "/docs"):
        got, head = await live.client.get(path), await live.client.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert got.headers["x-content-type-options"] == "nosniff"
        refused = await live.client.post(path)
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        assert refused.headers["content-type"] == "application/problem+json"


async def test_the_page_needs_nothing_else(live: Live, document: dict[str, Any]) -> None:
    policy = (await live.client.get("/docs")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    shown, ground, requested, complaints = await trio.to_thread.run_sync(
        look_at, f"{live.url}/docs"
    )
    assert requested == [f"{live.url}/docs"]
    assert complaints == []
    # The style was let through: without it, the page has no ground of its own.
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 28)"}
    for method, path in operations(document):
        assert f"{method} {path}" in shown
    for name in document["components"]["schemas"]:
        assert name in shown


def look_at(url: str) -> tuple[str, dict[str, str], list[str], list[str]]:
    """A page in Chromium, without JavaScript: its text, its ground by colour scheme, what it asked
    for, and what the browser complained of."""
    requested: list[str] = []
    complaints: list[str] = []
    ground = {}
    with (
        sync_playwright() as play,
        closing(
            play.chromium.launch(
                executable_path=_program("chromium-headless-shell"), args=CHROMIUM_ARGUMENTS
            )
        ) as browser,
    ):
        page = browser.new_context(java_script_enabled=False).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(url, timeout=PATIENCE * 1000)
        shown = " ".join(page.locator("body").inner_text().split())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ground[scheme] = page.locator("body").evaluate(
                "e => getComputedStyle(e).backgroundColor"
            )
    return shown, ground, requested, complaints


@pytest.mark.page
async def test_the_service_does_as_it_says(
    tmp_path: Path, record_figure: Callable[[str], None]
) -> None:
    """`make conformance` does it with more requests, and others each time."""
    options = ["--max-examples", "7", "--seed", "1", "--generation-database", "none"]
    verdict = await hold_against_description(tmp_path, *options)
    assert verdict.passed, verdict.output
    assert verdict.cases > 300
    record_figure(f"requests made of the description: {verdict.cases:,}, all as described")
