"""`python -m tests.picture`: draw docs/terminal.png from what two terminals show."""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console, Group
from rich.rule import Rule
from rich.text import Text

from tests.command_line import environment
from tests.server_process import running_server
from tests.terminal import Terminal, open_terminal

PICTURE = Path(__file__).parent.parent / "docs" / "terminal.png"

SCRIPTS = {
    "build": r"""
for file in errors lines broker engine server; do
    printf '\033[32mcompiling\033[0m %s.c\n' $file; sleep 0.3
done
printf '\033[33mwarning\033[0m: server.c:88: unused variable\n' >&2; sleep 0.3
printf '\033[31mfailed\033[0m: linking: no rule for the target all\n'
exit 2
""",
    "tests": r"""
for number in 1 2 3 4; do
    printf 'test %s of 4 \033[32mpassed\033[0m\n' $number; sleep 0.4
done
""",
}

# Rich's own has the browser load fonts from another host.
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"
    width="{width}" height="{height}">
  <style>
    .{unique_id}-matrix {{ font: {char_height}px "DejaVu Sans Mono", monospace; }}
    {styles}
  </style>
  <defs>{lines}</defs>
  <rect width="100%" height="100%" fill="#1e2127"/>
  <g transform="translate(12, 12)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>"""


def main() -> None:
    """Run the commands, and draw what their terminals show then."""
    with tempfile.TemporaryDirectory() as name, running_server(Path(name, "data")) as server:
        folder = Path(name)
        for script, text in SCRIPTS.items():
            (folder / f"{script}.sh").write_text(text)
        variables = environment(server.data) | {"TERM": "xterm-256color", "NO_COLOR": ""}
        parts: list[Rule | Text] = []
        with (
            open_terminal(new(folder / "one"), variables) as one,
            open_terminal(new(folder / "two"), variables) as two,
        ):
            one.enter(f"cd {folder}; trio-logs run --detach --name tests -- sh tests.sh")
            one.wait_for("^[0-9a-f]{8,}$")
            one.enter("clear")
            one.wait_for(r"\A\$\s*\Z")
            one.enter("trio-logs run --name build -- sh build.sh")
            one.wait_for("compiling lines.c")
            two.enter("trio-logs logs build tests")
            for terminal, end in ((one, r"^trio-logs: .*\n\$"), (two, r"linking[^$]*\n\$")):
                terminal.wait_for(end)
            one.enter("trio-logs ps")
            one.wait_for(r"tests +succeeded")
            for title, terminal in (("One terminal", one), ("Another, a little later", two)):
                parts += [Rule(title, align="left", style="dim"), shown(terminal), Text()]
        draw(Group(*parts[:-1]), folder)


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def shown(terminal: Terminal) -> Text:
    """Its screen with its colours, without the prompt that waits at the end."""
    return Text.from_ansi(terminal.screen(colours=True).rstrip().removesuffix("$").rstrip())


def draw(content: Group, folder: Path) -> None:
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(content)
    drawing = folder / "terminal.svg"
    drawing.write_text(console.export_svg(code_format=SVG))
    width, height = (int(float(size)) for size in size_of(drawing.read_text()))
    shot = folder / "terminal.png"
    chromium = [
        "chromium-headless-shell",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
    ]
    chromium += [f"--window-size={width},{height}", f"--screenshot={shot}", drawing.as_uri()]
    subprocess.run(chromium, check=True, capture_output=True, timeout=60)
    with Image.open(shot) as image:
        image.quantize(64, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE.name}: {width} x {height}, {PICTURE.stat().st_size / 1000:.0f} kB")


def size_of(svg: str) -> list[str]:
    return svg.partition('viewBox="0 0 ')[2].partition('"')[0].split()


if __name__ == "__main__":
    main()
