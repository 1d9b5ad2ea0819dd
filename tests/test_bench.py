"""The benchmark, in short: who runs, what is measured, and what is said of it."""

import json

import pytest

from handgrad.bench import rivals
from handgrad.bench.models import MODELS, case
from handgrad.bench.paired import in_turn, ratios, spread
from handgrad.bench.run import bench, chosen
from handgrad.errors import BadInput
from handgrad.render import bench as words
from handgrad.render.blocks import as_markdown

pytestmark = pytest.mark.native


def short(*names, batches=(2,), **options):
    return bench(names, batches, rounds=2, torch_compile=False, block=1e-4, **options)


@pytest.fixture(scope="module")
def found():
    return short("logistic")


def test_a_row_has_every_one_s_time_and_its_ratio_to_native(found):
    (row,) = found.rows
    assert {"native", "autograd", "by hand"} <= set(row.seconds)
    assert set(row.ratios) == set(row.seconds) - {"native"}
    assert all(0 < each.low <= each.middle <= each.high for each in row.ratios.values())
    assert row.margin == min(each.middle for each in row.ratios.values())


def test_it_is_plain_data_a_table_and_a_picture(found):
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["rows"][0]["model"] == "logistic"
    assert {"processor", "compiler", "torch"} <= set(data["machine"])
    assert "| logistic |" in as_markdown(words.report(found))
    assert words.files(found, "handgrad bench")["bench.png"].startswith(b"\x89PNG")


def test_the_seed_s_share_of_the_peak():
    row = short("seed", batches=(32,)).rows[0]
    assert row.peak.middle > 1e9
    assert 0 < row.reached.low <= row.reached.high < 1.5
    assert any("% of that" in text for text in words.peak(row))


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_s_derived_lines_compute_its_loss(name):
    made = case(MODELS[name], 2)
    loss = MODELS[name].forward(**made.first)
    step = rivals.lines(made)
    assert float(step(made.first)[0]) == pytest.approx(float(loss), rel=1e-5)


def test_what_native_refuses_is_told_and_the_others_run(monkeypatch):
    def refuse(_case):
        raise rivals.Absent("no lowering for frobnicate")

    monkeypatch.setitem(rivals.RIVALS, "native", refuse)
    found = short("logistic")
    assert found.rows[0].absent["native"] == "no lowering for frobnicate"
    assert found.rows[0].ratios == {}
    assert "no native: no lowering" in as_markdown(words.report(found))
    assert list(words.files(found, "handgrad bench")) == ["bench.md"]


def test_without_a_compiler_the_others_run(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    found = short("logistic")
    assert set(found.rows[0].seconds) >= {"autograd", "by hand"}
    assert any(note.startswith("native: no C compiler") for note in found.notes)


def test_ctrl_c_keeps_the_rows_that_are_done():
    def stop(done, _total, what):
        if done == 1 and what:
            raise KeyboardInterrupt

    found = short("logistic", batches=(2, 3), on_stage=stop)
    assert (len(found.rows), found.stopped) == (1, True)
    assert "Stopped by Ctrl-C" in as_markdown(words.report(found))


def test_times_are_taken_in_turn():
    order = []
    who = {name: lambda count, name=name: order.append((name, count)) for name in "ab"}
    times = in_turn(who, 2, at_least={"b": 4}, block=0.0)
    assert [name for name, _ in order[-4:]] == ["b", "a", "a", "b"]
    assert all(count % 4 == 0 for name, count in order if name == "b")
    assert {name: len(found) for name, found in times.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_each_round():
    times = {"native": [1.0, 2.0, 4.0], "other": [3.0, 4.0, 4.0]}
    assert ratios(times, "native")["other"] == spread([3.0, 2.0, 1.0])
    assert spread([3.0, 2.0, 1.0]).middle == 2.0


@pytest.mark.parametrize(
    ("names", "batches"), [(["nosuch"], []), (["logistic"], [0]), (["seed"], [1])]
)
def test_what_cannot_be_timed(names, batches):
    with pytest.raises(BadInput) as caught:
        chosen(names, batches)
    assert caught.value.hint
