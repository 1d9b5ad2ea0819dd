"""The cache of compiled libraries: who may read it, races, damage, and places that cannot be written."""

import multiprocessing
import os
import stat
import subprocess
import sys

import pytest

from handgrad.errors import BadInput
from handgrad.native import build as building
from handgrad.native import cpu, kept
from handgrad.native.build import build, cache_folder
from handgrad.native.compilers import CannotBuild, find_compiler

pytestmark = pytest.mark.native
SOURCE = "int answer(void) { return 42; }\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def libraries():
    return sorted(cache_folder().glob("*.so"))


def test_the_second_build_comes_from_the_cache():
    first, second = build(SOURCE), build(SOURCE)
    assert not first.cached
    assert second.cached
    assert first.path == second.path
    assert second.handle.answer() == 42
    assert len(libraries()) == 1


def test_the_key_has_source_flags_compiler_and_cpu(monkeypatch):
    compiler = find_compiler()
    keys = {
        building.key_of(SOURCE, ("-O1",), compiler),
        building.key_of(SOURCE + " ", ("-O1",), compiler),
        building.key_of(SOURCE, ("-O2",), compiler),
        building.key_of(SOURCE, ("-O1",), type(compiler)(compiler.command, "another")),
    }
    monkeypatch.setattr("handgrad.native.cpu.facts", lambda: "another")
    keys.add(building.key_of(SOURCE, ("-O1",), compiler))
    assert len(keys) == 5


def test_only_the_user_may_enter_the_folder():
    build(SOURCE)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    cache_folder().chmod(0o755)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:-1] + b"x"])
def test_a_damaged_library_is_built_again(damage):
    path = build(SOURCE).path
    whole = path.read_bytes()
    path.unlink()  # the loaded one stays as it is
    path.write_bytes(damage(whole))
    again = build(SOURCE)
    assert not again.cached
    assert again.handle.answer() == 42
    assert [building.checksum(p) == p.stem.partition("-")[2] for p in libraries()] == [True]


def ask(_):
    return build("int many(void) { return 7; }\n").handle.many()


def test_several_processes_build_at_once():
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(ask, range(8)) == [7] * 8
    assert all(building.checksum(p) == p.stem.partition("-")[2] for p in libraries())
    assert not list(cache_folder().glob("new-*"))


def test_a_cache_that_cannot_be_written_is_done_without(own_cache, monkeypatch):
    (own_cache / "cache").write_text("a file where the folder should be")
    library = build(SOURCE)
    assert library.handle.answer() == 42
    assert "nothing is cached" in library.note
    assert not library.path.exists()


def test_a_full_disk_is_told(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building, "store", full)
    library = build(SOURCE)
    assert "No space left on device" in library.note
    assert library.handle.answer() == 42


def test_a_compiler_that_fails_says_why():
    with pytest.raises(CannotBuild, match="the C compiler failed") as caught:
        build("int broken( { }\n")
    assert "error" in caught.value.why


def test_the_ziglang_wheel_where_there_is_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("handgrad.native.compilers.find_spec", lambda name: name == "ziglang")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.17.1")
    found = find_compiler()
    assert found.command == (sys.executable, "-m", "ziglang", "cc")
    assert found.identity == "ziglang 0.17.1"


def test_a_compiler_that_is_named_and_not_there(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler-here")
    with pytest.raises(CannotBuild, match="no-such-compiler-here is not to be found"):
        build(SOURCE)


def test_a_compiler_that_hangs_or_crashes_is_told(monkeypatch, tmp_path):
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'internal compiler error' >&2\nexit 4\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    with pytest.raises(CannotBuild, match="exit 4") as caught:
        build(SOURCE)
    assert "internal compiler error" in caught.value.why


def test_a_cached_library_starts_without_a_compiler_run(tmp_path):
    build(SOURCE)
    code = (
        "from handgrad.native import build as b, compilers\n"
        "def no(*a): raise SystemExit('the compiler ran')\n"
        "b.run_compiler = no\n"
        f"print(b.build({SOURCE!r}).handle.answer())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.stdout.strip() == "42", done.stderr


def test_each_kind_of_vectors_has_code_and_a_key_of_its_own(monkeypatch):
    found = []
    for kind in ("", *cpu.KINDS):
        monkeypatch.setenv(cpu.VARIABLE, kind)
        found.append((kept.machine(), building.key_of(SOURCE, cpu.target(), find_compiler())))
    machines, keys = zip(*found, strict=True)
    assert len({*machines[1:]}) == len(cpu.KINDS)
    assert len({*keys}) >= 4  # those of 16 bytes differ in their source alone


def test_vectors_that_the_processor_lacks_are_refused_before_they_run(monkeypatch):
    monkeypatch.setattr("handgrad.native.cpu.facts", lambda: "flags : fpu sse sse2 avx2 fma")
    monkeypatch.setenv(cpu.VARIABLE, "avx512")
    with pytest.raises(CannotBuild, match="no avx512"):
        build(SOURCE)
    monkeypatch.setenv(cpu.VARIABLE, "avx2")
    assert cpu.runs(cpu.vectors())


def test_vectors_that_there_are_not_are_refused_by_name(monkeypatch):
    monkeypatch.setenv(cpu.VARIABLE, "avx1024")
    with pytest.raises(BadInput, match="'avx1024'") as caught:
        build(SOURCE)
    assert "sse2, neon, avx2, avx512" in caught.value.hint
