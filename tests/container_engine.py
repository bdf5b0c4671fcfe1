"""Podman with a storage of its own, and a base image that is made of this machine: its programs are
mounted, and pip finds packages in a folder. So an image is built without a registry."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pip

__all__ = ["Engine", "running_engine"]

CONFIGURATION = """
[containers]
# Without CAP_SYS_RESOURCE, the default limits can't be set.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "none"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

PIP = """
[global]
no-index = true
find-links = /packages
no-compile = true
disable-pip-version-check = true
"""

# As `docker`, but that it builds on this machine's programs, and publishes no port.
SHIM = """#!/bin/bash
set -e
command=$1
shift
case $command in
build) set -- --format docker --layers=false --build-arg PYTHON=localhost/base {build} "$@" ;;
run)
    given=("$@")
    set --
    for ((i = 0; i < ${{#given[@]}}; i++)); do
        if [[ ${{given[i]}} == -p ]]; then ((++i)); else set -- "$@" "${{given[i]}}"; fi
    done
    set -- {run} "$@"
    ;;
esac
exec podman --root {storage}/root --runroot {storage}/run $command "$@"
"""


@dataclass(frozen=True)
class Engine:
    """`environment` has variables with which a shell finds `docker`."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, timeout: float = 300) -> str:
        """What a command of the engine prints."""
        found = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout


@contextmanager
def running_engine(*distributions: str) -> Iterator[Engine]:
    """An engine whose builds find these installed distributions, and what they require."""
    # Podman refuses long paths, such as those of pytest's folders.
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        engine = _configure(Path(folder), distributions)
        try:
            yield engine
        finally:
            engine("rm", "--all", "--force", "--time", "0", "--volumes")
            engine("rmi", "--all", "--force")


def _configure(folder: Path, distributions: Sequence[str]) -> Engine:
    packages = folder / "packages"
    packages.mkdir()
    for found in _closure(distributions):
        _pack(found, packages)
    # apt finds what is installed.
    (folder / "dpkg").mkdir()
    shutil.copy("/var/lib/dpkg/status", folder / "dpkg")
    (folder / "pip.conf").write_text(PIP)
    (folder / "containers.conf").write_text(CONFIGURATION)
    (folder / "bin").mkdir()
    shim = folder / "bin" / "docker"
    programs = {"/usr"}
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        programs.add(sys.base_prefix)
    mounts = [f"-v {path}:{path}:ro" for path in programs]
    build = [
        *mounts,
        f"-v {Path(pip.__file__).parent}:/pip/pip:ro",
        f"-v {packages}:/packages:ro",
        f"-v {folder}/pip.conf:/etc/pip.conf:ro",
        f"-v {folder}/dpkg:/var/lib/dpkg",
    ]
    # pip does not compile, and the first start compiles what the starts in all containers need.
    (folder / "compiled").mkdir()
    (folder / "compiled").chmod(0o777)
    run = [*mounts, f"-v {folder}/compiled:/compiled", "-e PYTHONPYCACHEPREFIX=/compiled"]
    shim.write_text(SHIM.format(build=" ".join(build), run=" ".join(run), storage=folder))
    shim.chmod(0o755)
    engine = Engine(
        os.environ
        | {
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "STORAGE_DRIVER": _storage_driver(folder / "probe"),
        }
    )
    _write_base(folder / "base.tar")
    path = f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine("import", "--change", f"ENV PATH=/pip/bin:{path}", str(folder / "base.tar"), "base")
    return engine


def _storage_driver(folder: Path) -> str:
    """The one that copies least, if this machine has it: `vfs` copies whole images, and needs
    nothing of the kernel or of the file system."""
    places = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
    command = ["podman", *places, "--storage-driver", "overlay", "info"]
    probed = subprocess.run(command, capture_output=True, timeout=60)
    return "overlay" if probed.returncode == 0 else "vfs"


def _write_base(path: Path) -> None:
    """An image with folders and no programs. Its pip is that of the tests."""
    with tarfile.open(path, "w") as tar:

        def add(name: str, kind: bytes, text: str = "", mode: int = 0o755) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            if kind == tarfile.SYMTYPE:
                entry.linkname = text
            entry.size = len(text) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(text.encode()))

        for name in ("etc", "home", "opt", "pip/bin", "root", "usr", "var/lib/dpkg"):
            add(name, tarfile.DIRTYPE)
        add("var/cache/apt/archives/partial", tarfile.DIRTYPE)
        add("tmp", tarfile.DIRTYPE, mode=0o1777)
        for name in ("bin", "lib", "lib64", "sbin"):
            add(name, tarfile.SYMTYPE, f"usr/{name}")
        add("etc/passwd", tarfile.REGTYPE, "root:x:0:0:root:/root:/bin/sh\n", 0o644)
        add("etc/group", tarfile.REGTYPE, "root:x:0:\n", 0o644)
        pip_program = '#!/bin/sh\nPYTHONPATH=/pip exec python3 -m pip "$@"\n'
        add("pip/bin/pip", tarfile.REGTYPE, pip_program)


def _closure(names: Sequence[str]) -> Iterator[metadata.Distribution]:
    """The distributions and what they require, as far as it is installed."""
    seen = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or system
        required = [each for each in found.requires or () if "extra ==" not in each]
        waiting += [re.split(r"[^\w.-]", each)[0] for each in required]
        yield found


def _pack(found: metadata.Distribution, folder: Path) -> None:
    """Make a wheel of what is installed, unless it was installed from a folder."""
    if found.read_text("direct_url.json"):
        assert json.loads(found.read_text("direct_url.json") or "")["dir_info"]
        return
    tags = re.findall(r"^Tag: (.+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    tag = "-".join(".".join(dict.fromkeys(part)) for part in parts)
    name = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    with zipfile.ZipFile(folder / f"{name}-{found.version}-{tag}.whl", "w") as wheel:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                wheel.writestr(str(file), _stripped(Path(str(file.locate()))))


def _stripped(path: Path) -> bytes:
    """The content of a file. Symbols for debuggers are a third of all bytes, which are copied
    from image to image."""
    if path.suffix != ".so" or shutil.which("strip") is None:
        return path.read_bytes()
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, path], check=True, timeout=60)
        return Path(stripped.name).read_bytes()
