"""Terminal escapes, without I/O.

Sources: ECMA-48, section 5; xterm's ctlseqs, for strings that BEL ends.
"""

from __future__ import annotations

import re

__all__ = ["ESCAPE"]

ESCAPE = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"
    rb"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    # Of a sequence that does not end in this part, only the start is removed.
    rb"|\x1b[ -/]*[0-~]"
)
"""One terminal escape."""
