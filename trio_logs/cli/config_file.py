"""The configuration file of the commands."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .exits import UsageError

__all__ = ["config_path", "read_config"]


def config_path(environ: Mapping[str, str]) -> Path:
    """Its path, whether there is such a file or not."""
    if given := environ.get("TRIO_LOGS_CONFIG"):
        return Path(given)
    base = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base, "trio_logs", "config.toml")


def read_config(environ: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Its path and values: `server` and `token`, both optional. Raises UsageError for a file that
    can't be read or has other values."""
    path = config_path(environ)
    try:
        config: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if environ.get("TRIO_LOGS_CONFIG"):
            raise UsageError(f"TRIO_LOGS_CONFIG names {path}, which does not exist") from None
        return path, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"can't read {path}: {error}") from error
    for name, value in config.items():
        if name not in ("server", "token") or not isinstance(value, str):
            raise UsageError(
                f"{path}: {name!r} is not valid; write `server` and `token`, both strings"
            )
    return path, config
