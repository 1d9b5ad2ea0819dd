"""The mutation harness itself: operators change the text, the oracle tells mistakes from none."""

from __future__ import annotations

import random

import pytest

from mutation.freeform import free_form, fused, target
from mutation.harness import Mutant, drawn, mutant_of, outcome, variant
from mutation.operators import NAMES, Context, mistakes
from mutation.oracle import equivalent
from mutation.programs import programs

NAMED = {program.name: program for program in programs()}


def changed(name: str, old: str, new: str) -> str:
    source = NAMED[name].source
    assert old in source
    return source.replace(old, new)


def test_there_are_enough_programs_and_operators():
    assert len(programs()) >= 25
    assert len(NAMES) >= 20


def test_every_operator_finds_a_line_and_changes_its_text():
    found: set[str] = set()
    for name in ("seed", "mlp_layer_norm", "conv_net", "svm", "wavenet", "rotary_attention"):
        chosen = variant(NAMED[name])
        for line, context in zip(chosen.lines, chosen.around, strict=True):
            for mistake in mistakes(line, context):
                assert mistake.text != line
                compile(mistake.text, "<mistake>", "exec")
                found.add(mistake.operator)
    assert set(NAMES) - found <= {"drop_mask", "drop_epsilon"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("seed", "db2 = dlogits.sum(dim=0)", "db2 = dlogits.mean(dim=0)"),
        ("seed", "dhpreact = dh * (1 - h**2)", "dhpreact = dh * (1 - h)"),
        ("seed", "dW2 = h.T @ dlogits", "dW2 = h.T @ dlogits * 1.000001"),
        ("seed", "(-dnorm_logits).sum(dim=1, keepdim=True)", "dnorm_logits.sum(1, keepdim=True)"),
        ("seed", "db1 = dhprebn.sum(dim=0)", "db1 = 2 * dhprebn.sum(dim=0)"),
        ("seed", "db2 = dlogits.sum(dim=0)", "db2 = dlogits.sum(dim=0).float()"),
        ("seed", "db2 = dlogits.sum(dim=0)", "db2 = dlogits.sum(dim=0, keepdim=True)"),
    ],
)
def test_oracle_notices_a_planted_mistake(name, old, new):
    assert not equivalent(NAMED[name], NAMED[name].source, changed(name, old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("seed", "dhpreact = dh * (1 - h**2)", "dhpreact = (1 - h * h) * dh"),
        ("seed", "dW2 = h.T @ dlogits", "dW2 = (dlogits.T @ h).T"),
        ("seed", "dprobs = dlogprobs / probs", "dprobs = dlogprobs * probs**-1"),
        ("seed", "db2 = dlogits.sum(dim=0)", "db2 = dlogits.detach().sum(0)"),
        ("seed", "dbndiff = dbnraw * bnvar_inv + 2", "dbndiff = bnvar_inv * dbnraw + 2"),
    ],
)
def test_oracle_discards_a_planted_equivalent(name, old, new):
    assert equivalent(NAMED[name], NAMED[name].source, changed(name, old, new))


def test_mutants_are_the_same_every_time():
    first, again = ([m.source for m in drawn(5, seed=3)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 5


def test_a_mutant_differs_in_the_lines_that_it_names():
    for mutant in drawn(10, seed=4, mistakes_each=2):
        assert len(mutant.lines) == len(mutant.operators) == 2
        text = mutant.source.splitlines()
        for numbers, before, after in zip(mutant.lines, mutant.before, mutant.after, strict=True):
            assert "\n".join(text[k - 1] for k in sorted(numbers)) == after != before


def test_the_right_backward_is_not_called_a_mutant_that_was_caught():
    program = NAMED["mlp"]
    nothing = Mutant(program, program.source, (), (), (), ())
    assert not outcome(nothing).caught


def test_a_line_that_raises_is_no_mutant():
    chosen = variant(NAMED["mlp"])
    rng = random.Random(0)
    made = [mutant_of(chosen, [k], rng) for k in range(len(chosen.lines)) for _ in range(5)]
    assert any(m is None for m in made)
    assert any(m is not None for m in made)


def test_free_form_is_right_and_other_text():
    rng = random.Random(1)
    for name in ("seed", "lstm", "vae", "conv_net"):
        program = NAMED[name]
        lines = free_form(program, rng)
        assert lines != program.lines
        leaves = {"d" + leaf for leaf in program.trace.leaves}
        kept = {target(line) for line in lines}
        assert {"d" + leaf for leaf in program.trace.leaves if leaf in program.trace.grads} <= kept
        short = fused([*program.lines], leaves, rng, share=1.0)
        assert len(short) < len(program.lines)


def test_swap_exchanges_both_names():
    chosen = variant(NAMED["seed"])
    place = next(k for k, line in enumerate(chosen.lines) if line.startswith("dbngain"))
    context: Context = chosen.around[place]
    texts = [m.text for m in mistakes(chosen.lines[place], context) if m.operator == "swap_names"]
    assert all(("dhpreact" in t) and ("bnraw" in t) for t in texts)
    assert texts or context.tensors["bnraw"].shape != context.tensors["dhpreact"].shape
