"""What is wrong with a JSON body, in words for people who do not know Python; without I/O."""

from __future__ import annotations

import re

__all__ = ["explain"]

_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "`true` or `false`",
    "null": "null",
    "array": "an array",
    "object": "an object",
}

_EXPECTED = re.compile(r"Expected `(?P<type>[^`]+)`(?P<rest>.*)", re.DOTALL)
_COMPARED = re.compile(r" (?:of length )?(?P<sign>[<>]=?) (?P<bound>[0-9.]+)")
_PLACE = re.compile(r"(?P<message>.*) - at (?P<key>`key` in )?`(?P<place>[^`]+)`", re.DOTALL)


def explain(message: str) -> str:
    """The message of a msgspec.ValidationError in plain words. A message that is not known stays as
    it is."""
    place = "the body"
    if located := _PLACE.fullmatch(message):
        message, place = located["message"], _field(located["place"])
        if located["key"]:
            place = f"a name in {place}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        return f"{place}: there is no field `{found[1]}`"
    if found := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{place}: the field `{found[1]}` is missing"
    if expected := _EXPECTED.fullmatch(message):
        what, rest = _words(expected["type"]), expected["rest"]
        if got := re.fullmatch(r", got `([^`]+)`", rest):
            other = "one with a fraction" if got[1] == "float" else _words(got[1])
            return f"{place}: it is {what}, not {other}"
        if compared := _COMPARED.fullmatch(rest):
            return f"{place}: it is {what} {_bound(expected['type'], **compared.groupdict())}"
        if matching := re.fullmatch(r" matching regex '(.*)'", rest):
            return f"{place}: it is {what} that matches the expression {matching[1]}"
    return f"{place}: {message}"


def _field(place: str) -> str:
    """`$` is the body, `$.labels[...]` the value of any label."""
    place = place.removeprefix("$").removeprefix(".")
    if place.endswith("[...]"):
        return f"a value in {place.removesuffix('[...]')}"
    return place or "the body"


def _words(types: str) -> str:
    return " or ".join(_TYPES.get(each, f"`{each}`") for each in types.split(" | "))


def _bound(kind: str, sign: str, bound: str) -> str:
    number = f"{float(bound):g}"
    if kind.startswith(("str", "array")):
        items = "characters" if kind.startswith("str") else "items"
        return f"of {number} {items} {'or more' if sign == '>=' else 'at most'}"
    words = {">": "above", ">=": "from", "<": "below", "<=": "up to"}
    return f"{words[sign]} {number}"
