"""What a file that is checked is kept from, as hostile files measure it: what `doctor` claims."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handgrad.check import contain as by
from handgrad.check import probe
from handgrad.check.contain import Contained, contain
from handgrad.check.probe import attempts, done, measured
from handgrad.check.sandbox import Limits, Sandbox, Target, check_apart
from handgrad.errors import UserCodeFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

NET = """
import torch
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
h = x @ W
loss = (h**2).mean()
dh = 2 * h / h.numel()
dW = x.T @ dh
"""
TRY = """
import ctypes, os, shutil, socket, subprocess, tempfile, threading
def tried(name, attempt):
    try:
        attempt()
        print("TRIED", name, True)
    except (OSError, subprocess.CalledProcessError):
        print("TRIED", name, False)
def check(value):
    if value: raise OSError(value)
"""
# how a hostile file could get at a file outside; `out` is its folder
WAYS = {
    "open": "open(out + '/made', 'w').write('x')",
    "append": "open(out + '/kept', 'a').write('x')",
    "truncate": "os.truncate(out + '/kept', 0)",
    "remove": "os.remove(out + '/kept')",
    "rename": "os.rename(out + '/kept', out + '/other')",
    "move in": "os.rename(out + '/kept', 'kept')",
    "folder": "os.mkdir(out + '/made')",
    "link out": "os.symlink('/etc/passwd', out + '/made')",
    "by a link": "(os.symlink(out, 'there'), open('there/made', 'w').write('x'))",
    "by a hard link": "(os.link(out + '/kept', 'mine'), open('mine', 'w').write('x'))",
    "by another program": "subprocess.run(['sh', '-c', 'echo x > ' + out + '/made'], check=True, stderr=-3)",
    "by a fork": "check(os.waitstatus_to_exitcode(os.waitpid(forked(lambda: open(out + '/made', 'w')), 0)[1]))",
    "by the parent's root": "open('/proc/%d/root' % os.getppid() + out + '/made', 'w').write('x')",
    "by the first one's root": "open('/proc/1/root' + out + '/made', 'w').write('x')",
    "by a remount": "(libc.mount(None, b'/', None, 32 | 4096, None), libc.mount(None, out.encode(), None, 32 | 4096, None),"
    " open(out + '/made', 'w').write('x'))",
    "by other namespaces": "(libc.unshare(0x10020000), libc.mount(None, b'/', None, 32 | 4096, None),"
    " open(out + '/made', 'w').write('x'))",
}
FORKED = """
libc = ctypes.CDLL(None)
def forked(work):
    child = os.fork()
    if child: return child
    try:
        work()
        os._exit(0)
    except OSError:
        os._exit(1)
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(warm=True) as made:
        made.control.recv(100)  # it is ready
        yield made


@pytest.fixture(scope="module")
def claimed() -> probe.Measured:
    """Return what `doctor` says that a file could do."""
    return measured()


def tried(text: str, sandbox: Sandbox, folder: Path) -> dict[str, bool]:
    """Check a file that tries things; return which of them could be done."""
    path = folder / "net.py"
    path.write_text(TRY + FORKED + text + NET)
    printed: list[str] = []
    found = check_apart(Target(str(path)), Limits(10), sandbox, printed.append)
    assert found.report.ok
    lines = [line[6:].rpartition(" ") for line in printed[0].splitlines() if line[:6] == "TRIED "]
    return {name: could == "True" for name, _, could in lines}


def files(folder: Path) -> dict[str, str]:
    """Return what a folder holds."""
    return {path.name: path.read_text() if path.is_file() else "" for path in folder.iterdir()}


def test_a_server_is_reached_as_doctor_says(sandbox: Sandbox, claimed, tmp_path: Path):
    with socket.socket() as server, socket.socket(type=socket.SOCK_DGRAM) as letters:
        server.bind(("127.0.0.1", 0))
        server.listen()
        letters.bind(("127.0.0.1", 0))
        tcp, udp = server.getsockname(), letters.getsockname()
        found = tried(
            f"tried('tcp', lambda: socket.create_connection({tcp}, 2))\n"
            f"tried('udp', lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {udp}))\n"
            f"tried('bind', lambda: socket.create_server(('127.0.0.1', 0)))\n",
            sandbox,
            tmp_path,
        )
        assert found["tcp"] is claimed.could["tcp"]
        assert found["udp"] is claimed.could["udp"]
        for own, name in ((server, "tcp"), (letters, "udp")):
            own.settimeout(0.2)
            if not found[name]:
                with pytest.raises(TimeoutError):  # nothing came, whatever the file was told
                    own.accept() if name == "tcp" else own.recv(1)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_outside_is_changed_only_as_doctor_says(way, sandbox, claimed, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    before = files(outside)
    found = tried(f"out = {str(outside)!r}\ntried('it', lambda: {WAYS[way]})\n", sandbox, tmp_path)
    if claimed.none_of(probe.FILES):
        assert not found["it"]
        assert files(outside) == before
    else:
        assert claimed.level in ("network", "limits alone")


def test_its_own_folder_is_its_own(sandbox: Sandbox, tmp_path: Path):
    text = """
tried("made", lambda: open("made", "w").write("x"))
tried("temporary", lambda: tempfile.NamedTemporaryFile().write(b"x"))
tried("folder", lambda: shutil.rmtree(tempfile.mkdtemp()))
tried("home", lambda: open(os.path.expanduser("~/made"), "w").write("x"))
tried("nowhere", lambda: open("/dev/null", "w").write("x"))
tried("program", lambda: subprocess.run(["sh", "-c", "echo x > /dev/null; echo x > by_sh"], check=True))
tried("read", lambda: open(__file__).read())
def lock():
    import multiprocessing
    multiprocessing.Lock()
tried("shared memory", lock)
def shared():
    import torch
    torch.zeros(3).share_memory_()
tried("shared tensor", shared)
"""
    found = tried(text, sandbox, tmp_path)
    assert len(found) == 9
    assert all(found.values()), found


def test_the_file_itself_and_what_is_beside_it_stay(sandbox, claimed, tmp_path):
    path = tmp_path / "net.py"
    (tmp_path / "beside.txt").write_text("kept")
    text = "tried('itself', lambda: open(__file__, 'a').write('#'))\n"
    text += (
        "tried('beside', lambda: open(os.path.dirname(__file__) + '/beside.txt', 'w').write('x'))\n"
    )
    found = tried(text, sandbox, tmp_path)
    open_ = not claimed.none_of(probe.FILES)
    assert found == {"itself": open_, "beside": open_}
    assert ((tmp_path / "beside.txt").read_text() == "kept") is not open_
    assert path.read_text().endswith("#") is open_


@pytest.mark.parametrize(
    "line",
    [
        "open('/handgrad-outside', 'w')",
        "socket.create_connection(('127.0.0.1', 9), 2)",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9/')",
        "socket.getaddrinfo('handgrad.invalid', 80)",
    ],
)
def test_what_is_refused_is_told_with_a_way_out(line, sandbox, claimed, tmp_path):
    if claimed.level != "network and files":
        pytest.skip(f"here it holds: {claimed.level}")
    path = tmp_path / "net.py"
    path.write_text("import socket\n" + line + NET)
    with pytest.raises(UserCodeFailed) as raised:
        check_apart(Target(str(path)), Limits(10), sandbox)
    assert raised.value.where.endswith("net.py:2")
    assert "handgrad doctor" in raised.value.hint
    assert "--no-sandbox" in raised.value.hint


def in_a_child(work: Callable[[], object]) -> object:
    """Return what a function gives in a process of its own."""
    answer, telling = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(telling, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(answer, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    return json.loads(data)


NOTHING = {"unshared": lambda libc: False, "landlocked": lambda libc, folder: 0}
LACKS = {
    "nothing": {},
    "namespaces": {"unshared": NOTHING["unshared"]},
    "mounts": {"read_only": lambda libc, folder: False},
    "Landlock": {"landlocked": NOTHING["landlocked"]},
    "Landlock and mounts": {
        "landlocked": NOTHING["landlocked"],
        "read_only": lambda libc, folder: False,
    },
    "everything": NOTHING,
}


@pytest.mark.parametrize("lacking", LACKS)
def test_it_degrades_part_by_part(lacking, monkeypatch):
    for name, stand_in in LACKS[lacking].items():
        monkeypatch.setattr(by, name, stand_in)
    found = measured()
    network, mounts, landlock = found.means.network, found.means.mounts, found.means.landlock
    assert found.could["own"]
    assert found.could["read"]
    assert found.could["tcp"] is not (network or landlock >= 4)
    assert found.could["udp"] is not network
    assert found.none_of(probe.FILES) is (mounts or landlock > 0)
    assert found.could["signal"] is not (landlock >= 6)
    if lacking == "everything":
        assert found.level == "limits alone"
    if lacking == "namespaces":
        assert found.level in ("files", "limits alone")


@pytest.mark.parametrize("first", [0, 0x00020000, 0x10020000], ids=["as it is", "mounts", "user"])
def test_read_only_mounts_alone_cannot_be_undone(first, monkeypatch, tmp_path):
    own, outside = tmp_path / "own", tmp_path / "outside"
    own.mkdir()
    outside.mkdir()
    monkeypatch.setattr(by, "landlocked", NOTHING["landlocked"])

    def work():
        means = contain(str(own))
        libc = ctypes.CDLL(None)
        if first:
            libc.unshare(first)
        for place in (b"/", bytes(outside)):
            libc.mount(place, place, None, by.BIND, None)
            libc.mount(None, place, None, 32 | by.BIND, None)
        return means.mounts, done(lambda: (outside / "made").write_text("x"))

    mounts, could = in_a_child(work)
    if not mounts:
        pytest.skip("there is no mount namespace")
    assert not could
    assert not list(outside.iterdir())


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_each_version_of_landlock_is_asked_for_what_it_has(version, monkeypatch, tmp_path):
    class Older:
        """The system's calls, as an older one has them."""

        def __init__(self, libc: ctypes.CDLL) -> None:
            self.libc = libc
            self.rules = []

        def syscall(self, number, *args):
            if number.value == by.CREATE_RULESET and args[0] is None:
                return version
            if number.value == by.CREATE_RULESET:
                self.rules.append(args[0])
            return self.libc.syscall(number, *args)

    def work():
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(by.NO_NEW_RIGHTS, 1, 0, 0, 0)
        older = Older(libc)
        held = by.landlocked(older, str(tmp_path))  # pyright: ignore[reportArgumentType]
        (tmp_path / "made").write_text("x")
        return held, len(older.rules[0]), done(lambda: (tmp_path.parent / "x").write_text("x"))

    held, size, could = in_a_child(work)
    if not held:
        pytest.skip("there is no Landlock")
    assert held == version
    assert size == {1: 8, 2: 8, 3: 8, 4: 16, 5: 16, 6: 24}[version]
    assert not could


def test_where_nothing_is_there_nothing_fails(monkeypatch, tmp_path):
    class Nothing:
        """A system without any of the calls."""

        def __init__(self, *args, **options) -> None:
            self.syscall = lambda *args: -1

    monkeypatch.setattr(by.ctypes, "CDLL", Nothing)
    assert contain(str(tmp_path)) == Contained()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_a_user_without_rights_is_contained_too():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        network, could = as_another_user(Path(folder))
    assert could["own"]
    assert not (network and could["tcp"])
    assert not (network and could["udp"])
    assert not (network and could["write"])


def as_another_user(folder: Path) -> tuple[bool, dict[str, bool]]:
    """Return what a user without rights could do, contained: who has a network, and all tries."""
    own, outside = folder / "own", folder / "outside"
    for each in (own, outside):
        each.mkdir()
        os.chown(each, 12345, 12345)
    for name in ("change", "delete", "read"):
        (outside / name).write_text(name)
        os.chown(outside / name, 12345, 12345)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        tries = attempts(own, outside, server.getsockname(), ("127.0.0.1", 9))

        socket.getaddrinfo("127.0.0.1", 9)  # its modules may be where the other user does not get

        def work():
            os.setgroups([])
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            means = contain(str(own))
            return means.network, {name: done(attempt) for name, attempt in tries.items()}

        return in_a_child(work)


def test_it_takes_no_time(tmp_path: Path):
    def work():
        began = time.perf_counter()
        contain(str(tmp_path))
        return time.perf_counter() - began

    assert min(in_a_child(work) for _ in range(5)) < 0.05


def test_a_hostile_file_that_fails_has_no_report(sandbox: Sandbox, tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text("import os\nos.kill(os.getppid(), 9)\nos.kill(1, 0)\n" + NET)
    with contextlib.suppress(UserCodeFailed):
        check_apart(Target(str(path)), Limits(10), sandbox)
    assert sandbox.process.poll() is None, "the keeper is gone"
