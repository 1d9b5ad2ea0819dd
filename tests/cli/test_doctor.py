"""`handgrad doctor` says what there is, and of the sandbox what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from handgrad.check import contain as by
from handgrad.check.probe import measured
from handgrad.cli import main
from handgrad.cli.doctor import examined
from handgrad.render.blocks import as_plain
from handgrad.render.doctor import TRIED, report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_it_says_versions_limits_and_the_level(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert not err
    for word in (
        "python",
        "torch",
        "C compiler",
        "vectors",
        "cache",
        "Limits: 60 s",
        "4 GiB",
        "docs/sandbox.md",
    ):
        assert word in out
    assert f"holds: {measured().level}\n" in out
    assert "--no-sandbox` and handgrad in Python" in " ".join(out.split())


def test_json(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"].startswith("2.")
    assert found["sandbox"]["could"] == dict(measured().could)
    assert found["limits"]["seconds"] == 60


def text_of(monkeypatch, **stand_ins) -> str:
    """Return the report where parts of the system are missing."""
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(by, name, stand_in)
    return " ".join(as_plain(report(examined())).split())


def test_what_is_not_held_is_said_to_be_open(monkeypatch):
    text = text_of(monkeypatch, unshared=lambda _: False, landlocked=lambda *_: 0)
    assert "holds: limits alone" in text
    for held, free in TRIED.values():
        assert f"open {free}" in text
        assert held not in text
    assert "The network is open" in text
    assert "Your files are open" in text


def test_landlock_alone(monkeypatch):
    if not measured().means.landlock:
        pytest.skip("there is no Landlock")
    text = text_of(monkeypatch, unshared=lambda _: False)
    assert "holds: files" in text
    assert "open sends by UDP" in text
    assert "The network is open" in text
    assert "Your files are open" not in text


def test_no_compiler_no_cache_no_proc(monkeypatch):
    found = examined()
    found |= {"compiler": "none", "cache": "none: no room", "root": True}
    text = " ".join(as_plain(report(found)).split())
    assert "install gcc or clang" in text
    assert "Nothing compiled is kept" in text
    assert "You are root" in text
    found["sandbox"] = {**found["sandbox"], "there": False}
    text = " ".join(as_plain(report(found)).split())
    assert "There is no sandbox" in text
    assert "holds" not in text


def test_the_page_has_every_level_and_what_is_open():
    page = Path(__file__).parents[2] / "docs" / "sandbox.md"
    text = " ".join(page.read_text().split())
    for word in (
        "network and files",
        "limits alone",
        "Landlock 4",
        "Landlock 6",
        "--no-sandbox",
        "handgrad doctor",
    ):
        assert word in text
