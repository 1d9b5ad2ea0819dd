"""What is said where nothing is proved, where a statement raises, and of mistakes in procedure."""

from __future__ import annotations

import torch

from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.statements import statements
from mistakes.fixtures import traced

TRACE, CONSTANTS = traced("makemore")


def rows(source, trace=TRACE, constants=CONSTANTS):
    report = assess(Judge(trace, statements(source), constants))
    return {row.name: row for row in report.rows if row.line}


def test_nothing_is_said_where_nothing_is_proved_but_what_was_measured():
    row = rows("dh = (dlogits * dlogits) @ W2.T + 0.3 * h.cos()")["dh"]
    assert row.verdict == "wrong"
    assert row.diagnosis is None
    assert row.note.startswith("alone: all 2048 entries differ; ")
    assert "correlation" in row.note


def test_facts_name_the_rows_that_differ():
    row = rows("dh = dlogits @ W2.T\ndh[3] = h[3].cos()\ndh[7] = h[7].exp()")["dh"]
    assert row.diagnosis is None
    assert "128 of 2048 entries differ: all in rows 3, 7" in row.note


def test_unknown_name_gets_the_nearest():
    row = rows("dh = dlogit @ W2.T")["dh"]
    assert row.verdict == "wrong"
    assert row.diagnosis.kind == "name"
    assert row.diagnosis.suggestion == "dh = dlogits @ W2.T"


def test_integers_of_one_hot_are_pointed_at():
    trace, constants = traced("makemore", torch.float32)
    wrong = "dC = (F.one_hot(Xb, vocab_size).transpose(1, 2) @ demb).sum(0)"
    row = rows(wrong, trace, constants)["dC"]
    assert row.verdict == "wrong"
    assert row.diagnosis.kind == "dtype"
    assert rows(row.diagnosis.suggestion, trace, constants)["dC"].verdict.good


def test_none_is_to_do_and_the_others_are_judged():
    found = rows("dhprebn = None\ndb2 = dlogits.sum(0)")
    assert found["dhprebn"].verdict == "to do"
    assert found["db2"].verdict.good


def test_gradients_in_the_wrong_order_are_told_apart():
    source = "dbnbias = (bnraw * dhpreact).sum(0, keepdim=True)"
    diagnosis = rows(source)["dbnbias"].diagnosis
    assert diagnosis.kind == "operand"
    assert "gradient of bngain, not of bnbias" in diagnosis.text


def test_keepdim_too_many_is_named_at_the_backward_line():
    diagnosis = rows("db2 = dlogits.sum(0, keepdim=True)\nb2_new = b2 - 0.1 * db2")["db2"].diagnosis
    assert diagnosis.kind == "keepdim"


def test_path_done_is_credited_and_the_rest_named():
    text = rows("dbndiff = bnvar_inv * dbnraw")["dbndiff"].diagnosis.text
    assert text.startswith("1 of 2 paths done; still to come: bndiff2")
    twice = rows("dbndiff = 2 * bnvar_inv * dbnraw + 2 * bndiff * dbndiff2")["dbndiff"].diagnosis
    assert twice.kind == "accumulate"
    assert "counted twice" in twice.text


def test_line_after_a_tensor_was_spoilt_by_its_alias_inherits():
    source = "dhprebn = dbndiff\ndhprebn += hpreact\ndbnmeani = -dbndiff.sum(0, keepdim=True)"
    found = rows(source)
    assert found["dhprebn"].diagnosis.kind == "alias"
    assert found["dbnmeani"].inherits
    assert "dbndiff" not in found
