"""A child process by posix_spawn(3): no Python code runs between its fork and its exec.

`subprocess` resets neither blocked nor ignored signals, and opens no file in the child. But a
session gets its terminal when its leader opens one. `os.posix_spawn` can't change the working
folder, and lets inheritable descriptors through. The C library can do all of this.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ..open_files import give_system_limit, system_limit

__all__ = ["Child", "posix_spawn"]

# While a call of a PyDLL is under way, no other thread runs Python code.
_LIBC = ctypes.PyDLL(None)

# From <spawn.h> and <signal.h> of glibc and musl. Their largest type has 336 bytes.
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_Opaque = ctypes.c_uint64 * 128
_NO_SIGNALS, _ALL_SIGNALS = (bytes([byte]) * 128 for byte in (0x00, 0xFF))

CLOSES_FROM = hasattr(_LIBC, "posix_spawn_file_actions_addclosefrom_np")
"""glibc 2.34 and later can close all descriptors from one on."""

_FIRST_OTHER = 3
"""The first descriptor after the three standard ones."""


class Child:
    """A child process. As with `subprocess.Popen`, `returncode` is None until `poll` reaps it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Reap the child if it has exited; return its `returncode`."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Other code of this process has reaped it, and knows the exit code.
                self.returncode = 0
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def posix_spawn(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: str | None,
    stdout: int | str,
    stderr: int | None,
    gate: int | None = None,
) -> Child:
    """Start the program with this path as the leader of a new session.

    `arguments` are all arguments, its name included. Standard input is empty. Each output is a
    descriptor; `stdout` may also be the path of a terminal, which becomes the controlling one, and
    `stderr` None is the same file as `stdout`. `gate` becomes the descriptor 3.

    The child has these descriptors and no other, no blocked and no ignored signal, and the limit on
    open files that this process was started with. Raises OSError.
    """
    with ExitStack() as stack:
        actions, attributes = _Opaque(), _Opaque()
        for name, opaque in (("_file_actions", actions), ("attr", attributes)):
            _call(f"posix_spawn{name}_init", ctypes.byref(opaque))
            stack.callback(_call, f"posix_spawn{name}_destroy", ctypes.byref(opaque))

        def act(name: str, *values: Any) -> None:
            _call(f"posix_spawn_file_actions_add{name}", ctypes.byref(actions), *values)

        def standard(place: int, descriptor: int) -> None:
            if descriptor < _FIRST_OTHER:
                # An earlier action would replace it.
                descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_OTHER)
                stack.callback(os.close, descriptor)
            act("dup2", descriptor, place)

        if cwd is not None:
            act("chdir_np", os.fsencode(cwd))
        act("open", 0, os.fsencode(os.devnull), os.O_RDONLY, 0)
        if isinstance(stdout, str):
            # Without O_NOCTTY, and after setsid(2): see tty_ioctl(4), "Controlling terminal".
            act("open", 1, os.fsencode(stdout), os.O_RDWR, 0)
        else:
            standard(1, stdout)
        if stderr is None:
            act("dup2", 1, 2)
        else:
            standard(2, stderr)
        others = _FIRST_OTHER
        if CLOSES_FROM:
            if gate is not None:
                act("dup2", gate, others)
                others += 1
            act("closefrom_np", others)
        else:
            for descriptor in _inheritable():
                act("close", descriptor)
            if gate is not None:
                # It is not inheritable, so it is still open.
                act("dup2", gate, others)
        _call("posix_spawnattr_setsigdefault", ctypes.byref(attributes), _ALL_SIGNALS)
        _call("posix_spawnattr_setsigmask", ctypes.byref(attributes), _NO_SIGNALS)
        flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
        _call("posix_spawnattr_setflags", ctypes.byref(attributes), flags)
        pid = ctypes.c_int()
        argv = _strings(arguments)
        envp = _strings([f"{name}={value}" for name, value in environment.items()])

        def spawn() -> None:
            _call(
                "posix_spawn",
                ctypes.byref(pid),
                os.fsencode(program),
                ctypes.byref(actions),
                ctypes.byref(attributes),
                argv,
                envp,
            )

        try:
            with system_limit():
                spawn()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            # musl opens a pipe for this, so the lower limit stops it if many files are open.
            spawn()
            give_system_limit(pid.value)
    return Child(pid.value)


def _call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns an error number. Raises OSError."""
    if number := getattr(_LIBC, name)(*arguments):
        raise OSError(number, os.strerror(number))


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """An array as execve(2) takes it: NULL ends it."""
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts))


def _inheritable() -> list[int]:
    """The descriptors, beyond the standard ones, that an exec leaves open."""
    found = []
    # Faster than pathlib: a busy service has 10,000 of them.
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:
        try:
            if number >= _FIRST_OTHER and os.get_inheritable(number):
                found.append(number)
        except OSError:
            continue  # closed meanwhile
    return found
