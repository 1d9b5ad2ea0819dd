"""The random programs have what they promise, and those who judge them see what is wrong."""

import dataclasses
import re

import pytest
import torch

import handgrad as hg
from fuzzing import judge as judging
from fuzzing.generator import CONSTRUCTS, generate
from fuzzing.judge import BUG, CRASH, HANG, RAISED, REFUSED, RIGHT, WRONG, judge
from fuzzing.pool import Child
from fuzzing.program import Program, run_plain
from fuzzing.shrink import shrunk
from handgrad.errors import BadInput, Mismatch

QUICK = sorted(CONSTRUCTS)[::12]
PLAIN = """\
import torch


def forward(x, w):
    h = x.sin()
    unused = w * 2
    loss = (h * w).sum()
    return loss
"""


def plain(source: str = PLAIN) -> Program:
    text = generate(0).to_json()
    argument = dataclasses.replace(Program.from_json(text).arguments[0], kind="float", shape=(2, 3))
    names = re.findall(r"\bforward\(([\w, ]*)\)", source)[0].split(", ")
    arguments = tuple(dataclasses.replace(argument, name=name, leaf=False) for name in names)
    return Program(3, source, arguments)


def runs_alone(construct: str) -> None:
    program = generate(11, construct)
    assert construct in program.constructs
    assert any(g is not None for g in run_plain(program, program.draw()).grads.values())
    if construct == "jit_script":
        return  # its source must stand in a file
    again = {"__name__": "script"}
    exec(compile(program.script, "<script>", "exec", dont_inherit=True), again)
    assert again["loss"] is not None


@pytest.mark.parametrize("construct", QUICK)
@pytest.mark.filterwarnings("ignore")
def test_a_program_has_the_construct_asked_for_and_runs_in_plain_pytorch(construct):
    runs_alone(construct)


@pytest.mark.slow
@pytest.mark.parametrize("construct", [c for c in CONSTRUCTS if c not in QUICK])
@pytest.mark.filterwarnings("ignore")
def test_every_construct_can_be_had(construct):
    runs_alone(construct)


def test_a_number_gives_the_same_program_each_time():
    assert generate(21) == generate(21) != generate(22)
    assert Program.from_json(generate(21).to_json()) == generate(21)


def test_a_right_program_is_called_right():
    assert judge(plain(), frozenset({"simplify", "emit"})).kind == RIGHT


def test_a_gradient_that_is_off_or_missing_is_seen(monkeypatch):
    real = judging.by_primal

    def twisted(backward: hg.Backward) -> dict[str, torch.Tensor]:
        found = real(backward)
        return {**found, "x": found["x"] * (1 + 1e-5)}

    monkeypatch.setattr(judging, "by_primal", twisted)
    assert (judge(plain()).kind, judge(plain()).text[:9]) == (WRONG, "dx is off")
    monkeypatch.setattr(judging, "by_primal", lambda b: {"x": real(b)["x"]})
    assert judge(plain()).text == "dw is missing"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadInput("no", where="file:3"), REFUSED),
        (Mismatch("off"), BUG),
        (ValueError("what"), RAISED),
    ],
)
def test_what_is_raised_is_told_apart(monkeypatch, error, kind):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(judging, "traced", refuse)
    verdict = judge(plain())
    assert (verdict.kind, verdict.stage, verdict.named) == (kind, "trace", kind == REFUSED)


def test_an_emitted_file_that_is_right_at_the_traced_sizes_only_is_seen(monkeypatch):
    from handgrad.emit import pytorch

    real = pytorch.module
    monkeypatch.setattr(
        pytorch,
        "module",
        lambda b: real(b).replace("return {", "dx = dx * x.shape[0] / 2\n    return {"),
    )
    verdict = judge(plain(), frozenset({"emit"}))
    assert verdict.kind == WRONG
    assert "at other sizes dx is off" in verdict.text


def test_a_hang_and_a_crash_are_named():
    sleeping = Child("time", "sleep", start=20)
    assert sleeping.ask((0,), 5) is None
    assert sleeping.ask((30,), 0.3)["kind"] == HANG
    assert Child("os", "abort").ask((), 5)["kind"] == CRASH


def test_a_program_shrinks_to_what_its_verdict_needs():
    source = PLAIN.replace("    unused", "    k = x.exp() + w\n    unused")
    small = shrunk(
        plain(source), lambda p: judging.Verdict(WRONG if "x.sin()" in p.source else RIGHT)
    )
    assert "sin" in small.source
    assert "unused" not in small.source
    assert "exp" not in small.source
