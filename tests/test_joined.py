"""Modules of the page, joined: they run as before, and what can't be joined is refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import trio_logs
from tests.test_clients import _program
from trio_logs.api.joined import joined

WEB = Path(trio_logs.__file__).parent / "web"
MODULES = {path.relative_to(WEB).as_posix(): path.read_text() for path in WEB.rglob("*.js")}

EXAMPLE = {
    "main.js": """
import { Base, twice as double } from "./a/base.js"
import * as names from "./names.js"
import { later, numbers } from "./a/later.js"

const own = "main"
class Derived extends Base {}
console.log(own, double(new Derived().value), names.first, names.second, await_(numbers))
later().then((text) => console.log(text))

function await_(make) {
  return [...make()].join("")
}
""",
    "a/base.js": """
import { own } from "../names.js"

/** Not an import: @type {import("./later.js").Later} */
export class Base {
  value = own.length
}
export const twice = (number) => 2 * number
console.log("base runs once")
""",
    "a/later.js": """
import { twice } from "./base.js"

export async function later() {
  return `later ${twice(2)}`
}
export function* numbers() {
  yield* [1, 2]
}
""",
    "names.js": """
export const first = "import { no } from "
export const second = "x"
export const own = "abc"
""",
    "unused.js": "throw new Error('unused')",
}


def test_joined_modules_run_as_they_do_alone(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    for name, text in EXAMPLE.items():
        (alone / name).parent.mkdir(parents=True, exist_ok=True)
        (alone / name).write_text(text)
    (alone / "package.json").write_text('{"type": "module"}')
    (tmp_path / "joined.mjs").write_text(joined(EXAMPLE, "main.js"))
    said = [
        subprocess.run([_program("node"), path], capture_output=True, text=True, check=True).stdout
        for path in (alone / "main.js", tmp_path / "joined.mjs")
    ]
    assert said[0] == "base runs once\nmain 6 import { no } from  x 12\nlater 4\n"
    assert said[1] == said[0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('import { a } from "./none.js"', "main.js imports none.js, which is not a module"),
        ('import { a } from "./circle.js"', "modules of the page import each other: "),
        ("export let state = 1", "main.js has 'export let state = 1'"),
        ("export default 1", "main.js has 'export default 1'"),
        ('export { a } from "./b.js"', "main.js has 'export { a }"),
        ('import "./b.js"', "main.js has 'import"),
        ('import { a } from "https://example.org/b.js"', "main.js has 'import"),
        ("  console.log(import.meta.url)", r"main.js has 'import\.meta"),
        ('  await import("./b.js")', "main.js has 'await import"),
    ],
)
def test_what_cannot_be_joined_is_refused(text: str, complaint: str) -> None:
    modules = {"main.js": text, "b.js": "", "circle.js": 'import { b } from "./main.js"'}
    with pytest.raises(ValueError, match=complaint):
        joined(modules, "main.js")


@pytest.mark.parametrize("start", ["main.js", "wire/worker.js"])
def test_each_module_that_the_page_needs_is_there_once(start: str) -> None:
    needed, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        for target in re.findall(r' from "(\..+)"', MODULES[name]):
            found = (WEB / name).parent.joinpath(target).resolve().relative_to(WEB).as_posix()
            waiting += [found] if found not in needed else []
    text = joined(MODULES, start)
    names = re.findall(r"^// (\S+\.js)$", text, re.M)
    assert sorted(names) == sorted(needed)
    assert names[-1] == start
    assert not re.search(r"^(?:import|export)\b", text, re.M)
