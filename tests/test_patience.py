"""What takes long is told on a terminal, once, and taken away again."""

import io
import sys
import time

from handgrad import patience


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_in(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(patience, "AFTER", 0.05)
    return shown


def test_what_takes_long_is_told_once(monkeypatch):
    terminal = terminal_in(monkeypatch)
    with patience.patience("outer work"), patience.patience("inner work"):
        ends = time.monotonic() + 20
        while "outer work" not in terminal.getvalue() and time.monotonic() < ends:
            time.sleep(0.05)
    assert "outer work" in terminal.getvalue()
    assert "inner work" not in terminal.getvalue()


def test_what_is_quick_says_nothing(monkeypatch):
    terminal = terminal_in(monkeypatch)
    with patience.patience("quick work"):
        pass
    assert not terminal.getvalue()


def test_nothing_is_told_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(patience, "AFTER", 0.0)
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    with patience.patience("work"):
        time.sleep(0.05)
    assert not shown.getvalue()
