"""How the pages are built: `make docs`, where a warning is an error."""

from __future__ import annotations

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

project = "trio-logs"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["code.css"]
html_title = "trio-logs"
# The pages are for reading; their sources are in the repository.
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# What makes a browser load something, as opposed to a link, on which the reader decides.
LOADED = re.compile(
    r"<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=[\"'](?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preconnect|icon))[^>]*\bhref=[\"'](?:https?:)?//"
    r"|@import\s+(?:url\()?[\"']?(?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//"
)


def outside_hosts(folder: Path) -> list[str]:
    """The built files that have a browser load something from another host."""
    files = [file for kind in ("html", "css") for file in sorted(folder.rglob(f"*.{kind}"))]
    return [str(file.relative_to(folder)) for file in files if LOADED.search(file.read_text())]


def check_hosts(app: Sphinx, error: Exception | None) -> None:
    """Fail the build if a page needs another host."""
    if error is None and (found := outside_hosts(Path(app.outdir))):
        raise SphinxError(f"these load something from another host: {', '.join(found)}")


def setup(app: Sphinx) -> None:
    # Pygments knows none for it; the fence is named for what its test runs.
    app.add_lexer("haproxy", TextLexer)
    app.connect("build-finished", check_hosts)
