"""Known mistakes: each is flagged where it is made, named for what it is, and its repair is not."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch

import handgrad as hg
from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.statements import statements
from mistakes.fixtures import setting_of, traced

MISTAKES = json.loads((Path(__file__).parent / "mistakes.json").read_text())["mistakes"]
TARGETED = [m for m in MISTAKES if m["target"]]
IDS = [m["id"] for m in TARGETED]
HARMLESS = {"bn_mean_too_early"}  # what it leaves out sums to zero: its value is right
FALSE_FRIENDS = {"bcast_wrong_dim": "wrong-dim"}  # another word for the same mistake
WORDS = {"F", "W", "view", "sum", "unsqueeze", "T", "transpose", "one_hot", "keepdim", "True"}
WORDS |= {"masked_fill", "reshape", "None", "vocab_size"}


@cache
def setting(name, dtype=torch.float64):
    return traced(name, dtype)


@cache
def derived(name):
    return [each.line.text for each in hg.derive(setting(name)[0]).lines]


def assessed(mistake, text, dtype=torch.float64):
    trace, constants = setting(setting_of(mistake), dtype)
    return assess(
        Judge(trace, statements("\n".join(text.split("; "))), {**constants, "math": math})
    )


@cache
def report_of(name):
    mistake = next(m for m in TARGETED if m["id"] == name)
    return assessed(mistake, mistake["wrong"])


def row_of(mistake):
    return next(row for row in report_of(mistake["id"]).rows if row.name == gradient(mistake))


def gradient(mistake):
    name = mistake["target"]
    return name if name.startswith("d") else "d" + name


def flagged(report):
    return [row.name for row in report.rows if row.line and not row.verdict.good]


@pytest.mark.parametrize("mistake", TARGETED, ids=IDS)
def test_mistake_is_flagged_and_its_variable_named(mistake):
    due = [] if mistake["id"] in HARMLESS else [gradient(mistake)]
    assert flagged(report_of(mistake["id"])) == due


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mistake", TARGETED, ids=IDS)
def test_right_version_draws_no_alarm(mistake, dtype):
    report = assessed(mistake, mistake["right"], dtype)
    judged = [row for row in report.rows if row.line]
    assert judged
    assert all(row.verdict.good and not row.inherits for row in judged), str(report)


def in_whole_file(mistake, version):
    """Put the lines of a mistake in place of the derived line of its variable."""
    start = f"{gradient(mistake)} = "
    lines = derived(setting_of(mistake))
    assert any(line.startswith(start) for line in lines)
    return "; ".join(mistake[version] if line.startswith(start) else line for line in lines)


@pytest.mark.parametrize("mistake", TARGETED, ids=IDS)
def test_mistake_in_a_whole_backward_pass_turns_one_line_red(mistake):
    report = assessed(mistake, in_whole_file(mistake, "wrong"))
    due = [] if mistake["id"] in HARMLESS else [gradient(mistake)]
    assert flagged(report) == due
    right = assessed(mistake, in_whole_file(mistake, "right"))
    assert flagged(right) == []
    assert not any(row.inherits for row in right.rows)


def diagnosed():
    return {m["id"]: row_of(m).diagnosis for m in TARGETED if m["id"] not in HARMLESS}


def test_class_is_right_and_never_asserted_when_false():
    said = diagnosed()
    other = {
        m["id"]: said[m["id"]].kind if said[m["id"]] else None
        for m in TARGETED
        if m["id"] in said and (said[m["id"]] is None or said[m["id"]].kind != m["mistake_class"])
    }
    assert other == FALSE_FRIENDS  # 91 of the 92 that change anything


def corresponds(mistake, diagnosis):
    """Tell whether a diagnosis names all that the confirming repair reads, and its class."""
    repair = mistake["confirming_repair"]
    told = f"{diagnosis.text} {diagnosis.proof} {diagnosis.suggestion} {mistake['wrong']}"
    names = set(re.findall(r"\b[A-Za-z_]\w*", repair)) - WORDS
    return diagnosis.kind == mistake["mistake_class"] and all(
        re.search(rf"\b{name}\b", told) for name in names
    )


def test_diagnosis_is_the_confirming_repair():
    said = diagnosed()
    with_repair = [m for m in TARGETED if m["confirming_repair"] and m["id"] in said]
    missed = [m["id"] for m in with_repair if not corresponds(m, said[m["id"]])]
    assert len(with_repair) == 51
    assert missed == []


@pytest.mark.parametrize("mistake", TARGETED, ids=IDS)
def test_suggested_line_makes_it_right(mistake):
    diagnosis = row_of(mistake).diagnosis
    if mistake["id"] in HARMLESS or diagnosis.kind == "alias" or not diagnosis.suggestion:
        pytest.skip("no line to try")
    parts, name = mistake["wrong"].split("; "), gradient(mistake)
    line = diagnosis.suggestion
    last = max(k for k, part in enumerate(parts) if part.startswith(name) or name + "." in part)
    tries = [line, "; ".join([*parts, line])]
    tries += ["; ".join([*parts[:k], line, *parts[k + 1 :]]) for k in range(last + 1)]
    assert any(not flagged(assessed(mistake, attempt)) for attempt in tries), line
