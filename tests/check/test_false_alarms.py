"""Right backward passes draw no alarm: in any dtype and size, at ties, kinks and zeros."""

from __future__ import annotations

import pytest

from mutation.false_alarms import rights


def alarms(count: int, seed: int) -> list[str]:
    """Return what was called wrong though it is right."""
    found = []
    for each in rights(count, seed):
        rows = [f"{r.name} {r.verdict} {r.note}: {r.line}" for r in each.alarms()]
        if rows:
            found.append("\n  ".join([each.name, *rows]))
    return found


def test_no_false_alarm():
    found = alarms(12, seed=2)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(100, 110))
def test_no_false_alarm_in_three_thousand(seed):
    found = alarms(300, seed)
    assert not found, "\n".join(found)
