"""A program of its own: takes limits upon itself, then becomes the command it was given.

    python -I -S launcher.py LIMITS COMMAND ARGUMENT...

LIMITS is a JSON object: memory, file_bytes (bytes), seconds (of CPU), readable, writable (lists of paths). Limits taken here hold for
the command and whatever it starts, and cannot be given back. Uses the standard library only; it never runs inside a server.

Paths are held by Landlock where the kernel has it (Linux 5.13; TCP since 6.7): linux/landlock.h. Where it has not, the other limits hold.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_BENEATH = 1
_SET_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES = 1, 38
# linux/landlock.h: rights on files. Execute, write, read file, read folder, then what changes folders; refer, truncate, ioctl came later.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1, 2, 4, 8, 1 << 14
_FIRST_RIGHTS = (1 << 13) - 1
_RIGHTS_BY_VERSION = {1: _FIRST_RIGHTS, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_TCP_BIND_CONNECT = 3


def main(arguments: list[str]) -> None:
    """Limit this process and become the command. Raises OSError where the command cannot be run."""
    limits, command = json.loads(arguments[0]), arguments[1:]
    kernel = ctypes.CDLL(None, use_errno=True)
    # Nobody is left to take the result when the process that asked is gone.
    kernel.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, limits["memory"])
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CPU, limits["seconds"])
    _limit(resource.RLIMIT_NOFILE, 256)
    # A write beyond the size then fails with a message instead of a signal.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _hold_paths(kernel, limits["readable"], limits["writable"])
    os.execv(command[0], command)  # noqa: S606 # becoming the command is what this program is for; no shell is involved


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (most, most))


def _hold_paths(kernel: ctypes.CDLL, readable: Iterable[str], writable: Iterable[str]) -> None:
    """Allow reading below `readable`, everything below `writable`, and nothing else; no TCP."""
    version = kernel.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return
    rights = _RIGHTS_BY_VERSION[max(known for known in _RIGHTS_BY_VERSION if known <= version)]
    attributes = struct.pack("<QQ", rights, _TCP_BIND_CONNECT if version >= 4 else 0)
    attributes = attributes if version >= 4 else attributes[:8]
    ruleset = kernel.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return
    for path in readable:
        _allow(kernel, ruleset, path, (_EXECUTE | _READ_FILE | _READ_FOLDER) & rights)
    for path in writable:
        _allow(kernel, ruleset, path, rights & ~_EXECUTE)
    kernel.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if kernel.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not hold the paths")
    os.close(ruleset)


def _allow(kernel: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_A_FILE
    rule = struct.pack("<Qi", rights, descriptor)
    kernel.syscall(_ADD_RULE, ruleset, _BENEATH, rule, 0)
    os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
