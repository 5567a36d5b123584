"""Run a command as a systemd unit confines it, without systemd: ``python unit_sandbox.py UNIT HOME COMMAND...``.

Of the unit's options this carries out the empty capability set, NoNewPrivileges, ProtectSystem=strict with its paths,
PrivateTmp, MemoryDenyWriteExecute and SystemCallFilter. HOME is where the unit expects it, whatever its name outside.
It needs root, who stays who he is: without capabilities that is an ordinary user.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

STATE: Final = "/var/lib/responders"
_NEW_MOUNTS: Final = 0x20000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR: Final = 442
_READ_ONLY, _AT_RECURSIVE, _AT_FDCWD = 1, 0x8000, -100
_DROP_BOUNDING, _NO_NEW_PRIVILEGES, _SET_MDWE = 24, 38, 65
_LAST_CAPABILITY: Final = 40
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000

_libc: Final = ctypes.CDLL(None, use_errno=True)


def options(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit, with each of its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def allowed_calls(filters: list[str]) -> set[str]:
    """System calls of an allow list, its groups written out by systemd itself."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout
    groups: dict[str, list[str]] = {}
    for line in listed.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.append(line.strip())

    def calls(name: str) -> set[str]:
        return {call for each in groups[name] for call in calls(each)} if name.startswith("@") else {name}

    allowed = calls("@default")
    for each in filters:
        named = {call for name in each.removeprefix("~").split() for call in calls(name)}
        allowed = allowed - named if each.startswith("~") else allowed | named
    return allowed


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _checked(_libc.mount(*texts, ctypes.c_ulong(flags), None), f"mount {target}")


def _set_read_only(path: str, *, read_only: bool, recursive: bool = False) -> None:
    attributes = (ctypes.c_uint64 * 4)(*((_READ_ONLY, 0) if read_only else (0, _READ_ONLY)), 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    done = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), 32)
    _checked(done, f"mount_setattr {path}")


def _confine_files(settings: dict[str, list[str]], home: str) -> None:
    _checked(_libc.unshare(_NEW_MOUNTS), "unshare")
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    held = os.open(home, os.O_PATH)
    for empty in ("/var/lib", "/var/tmp"):  # noqa: S108 - a new one
        _mount("tmpfs", empty, "tmpfs", 0)
    os.environ["TMPDIR"] = "/var/tmp"  # noqa: S108 - this is PrivateTmp=
    Path(STATE).mkdir()
    _mount(f"/proc/self/fd/{held}", STATE, None, _BIND)
    os.close(held)
    paths = [path for name in ("ReadWritePaths", "ReadOnlyPaths") for value in settings[name] for path in value.split()]
    for path in paths:
        _mount(path, path, None, _BIND)
    assert settings["ProtectSystem"] == ["strict"]
    _set_read_only("/", read_only=True, recursive=True)
    for path in ["/var/tmp", *settings["ReadWritePaths"]]:  # noqa: S108 - the same
        _set_read_only(path, read_only=False)


def _confine_calls(allowed: set[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_REFUSE | errno.EPERM)))
    for name in allowed:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            _checked(seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0), name)
    _checked(seccomp.seccomp_load(context), "seccomp_load")


def main(unit: str, home: str, *command: str) -> None:
    """Confine this process and become the command."""
    settings = options(Path(unit))
    allowed = allowed_calls(settings["SystemCallFilter"])
    os.umask(int(settings["UMask"][0], 8))
    _confine_files(settings, home)
    assert settings["CapabilityBoundingSet"] == [""]
    for capability in range(_LAST_CAPABILITY + 1):
        _checked(_libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0), "capabilities")
    assert settings["NoNewPrivileges"] == settings["MemoryDenyWriteExecute"] == ["yes"]
    _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _checked(_libc.prctl(_SET_MDWE, 1, 0, 0, 0), "no memory both written and executed")
    _confine_calls(allowed)
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)  # it could write nowhere what it measured
    os.execvp(command[0], command)  # noqa: S606 - that is the purpose


if __name__ == "__main__":
    main(*sys.argv[1:])
