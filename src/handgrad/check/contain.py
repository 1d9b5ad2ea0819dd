"""Keep a process from the network and from files outside its folder, as far as the system lets it.

Two means, each where it is there, without any right that the person does not have. Namespaces: a
network of its own with nothing in it, and the file system read-only but for its folder. Landlock:
no writing outside its folder, no TCP, no signals to processes outside. What is missing is left out;
nothing here ever fails. It holds for the process and all that it starts, and cannot be undone.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NEW_USER, NEW_NETWORK, NEW_MOUNTS = 0x10000000, 0x40000000, 0x00020000  # for unshare
BIND, RECURSIVE = 4096, 16384  # for mount
NO_SUID, NO_DEVICES = 2, 4
MOUNT_SETATTR = 442
HERE, WHOLE = -100, 0x8000  # AT_FDCWD, AT_RECURSIVE
READ_ONLY, PRIVATE = 1, 1 << 18
CREATE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446
WRITE_FILE, TRUNCATE, DEVICES = 1 << 1, 1 << 14, 1 << 15
# write, remove, make: what each version of Landlock knows of it
WRITES = {1: WRITE_FILE | 0x1FF << 4, 2: 1 << 13, 3: TRUNCATE, 5: DEVICES}
TCP = 1 << 0 | 1 << 1  # bind, connect: from version 4
SCOPES = 1 << 0 | 1 << 1  # abstract sockets, signals: from version 6
SEND = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty")  # what is written there goes nowhere
SHARED = "/dev/shm"
SHARED_BYTES = 256 * 2**20
NO_NEW_RIGHTS, DROP_BOUND = 38, 24  # for prctl
READ_ALL = 1 << 2  # CAP_DAC_READ_SEARCH: root still reads what is the person's
CAPABILITIES = 0x20080522


@dataclass(frozen=True)
class Contained:
    """By what means a process is kept in.

    Attributes:
        network: it has a network of its own, with nothing in it.
        mounts: the file system is read-only for it, its folder aside.
        landlock: the version of Landlock that holds, 0 for none.
    """

    network: bool = False
    mounts: bool = False
    landlock: int = 0


def contain(folder: str) -> Contained:
    """Keep this process, which must have one thread, from the network and from other folders.

    Args:
        folder: where it may write.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
    except (OSError, AttributeError):  # no such system
        return Contained()
    network = unshared(libc)
    mounts = network and read_only(libc, folder)
    with suppress(AttributeError):
        give_up_rights(libc)
        return Contained(network, mounts, landlocked(libc, folder))
    return Contained(network, mounts)


def unshared(libc: ctypes.CDLL) -> bool:
    """Give this process a network and a file system of its own; tell whether it has them."""
    user, group = os.getuid(), os.getgid()
    # in a user namespace root reads no files of others, and needs none to have the rest
    flags = NEW_NETWORK | NEW_MOUNTS | (NEW_USER if user else 0)
    try:
        if libc.unshare(flags):
            return False
    except AttributeError:
        return False
    if user:
        with suppress(OSError):  # some systems leave the names unmapped: the rest holds
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def read_only(libc: ctypes.CDLL, folder: str) -> bool:
    """Make the whole file system read-only for this process, its folder aside; tell whether it is.

    Shared memory becomes its own: what is put there is seen by nobody else.
    """
    place = os.fsencode(folder)

    def set_flags(where: bytes, on: int, off: int, more: int = 0) -> bool:
        flags = struct.pack("QQQQ", on, off, more, 0)
        code = ctypes.c_long(MOUNT_SETATTR)
        return not libc.syscall(code, HERE, where, WHOLE, flags, ctypes.c_size_t(len(flags)))

    if not set_flags(b"/", 0, 0, PRIVATE) or libc.mount(place, place, None, BIND | RECURSIVE, None):
        return False
    if not set_flags(b"/", READ_ONLY, 0):
        return False
    if Path("/proc/self/uid_map").read_text().strip():  # without a name there nobody can own files
        size = f"size={SHARED_BYTES}".encode()
        libc.mount(b"tmpfs", SHARED.encode(), b"tmpfs", NO_SUID | NO_DEVICES, size)
    os.chdir(folder)  # by the new mount
    return set_flags(place, 0, READ_ONLY)


def give_up_rights(libc: ctypes.CDLL) -> None:
    """Give up what could undo it, for good: no capability, none by running another program."""
    for number in range(64):
        if 1 << number != READ_ALL:
            libc.prctl(DROP_BOUND, number, 0, 0, 0)
    libc.prctl(NO_NEW_RIGHTS, 1, 0, 0, 0)
    kept = READ_ALL if not os.getuid() else 0
    header = struct.pack("Ii", CAPABILITIES, 0)
    if libc.capset(header, struct.pack("IIIIII", kept, kept, 0, 0, 0, 0)):
        libc.capset(header, struct.pack("IIIIII", 0, 0, 0, 0, 0, 0))


def landlocked(libc: ctypes.CDLL, folder: str) -> int:
    """Restrict this process by Landlock; return the version that holds, 0 where there is none."""

    def call(number: int, *args: object) -> int:
        return libc.syscall(ctypes.c_long(number), *args)

    version = call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return 0
    writes = sum(rights for since, rights in WRITES.items() if since <= version)
    handled = [writes, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0]
    rules = struct.pack("QQQ", *handled)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = call(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    if ruleset < 0:
        return 0
    sent = writes & (WRITE_FILE | TRUNCATE | DEVICES)
    allowed = {folder: writes, SHARED: writes, **dict.fromkeys(SEND, sent)}
    try:
        for name, rights in allowed.items():
            if not allow(libc, ruleset, name, rights) and name == folder:
                return 0
        held = call(RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
        return version if held else 0
    finally:
        os.close(ruleset)


def allow(libc: ctypes.CDLL, ruleset: int, name: str, rights: int) -> bool:
    """Allow rights on a file, or on a folder and all in it; tell whether that was done."""
    try:
        place = os.open(name, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        rule = struct.pack("=Qi", rights, place)
        kind = ctypes.c_int(1)  # beneath a path
        code = ctypes.c_long(ADD_RULE)
        return not libc.syscall(code, ctypes.c_int(ruleset), kind, rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
