"""`handgrad bench` from the outside."""

import json

import pytest

from handgrad.cli import main

SHORT = ["bench", "logistic", "--batch=2", "--rounds=1", "--no-compile"]


@pytest.mark.native
def test_a_table_and_files(tmp_path, capsys):
    assert main([*SHORT, f"--output={tmp_path / 'out'}"]) == 0
    out, err = capsys.readouterr()
    assert "logistic" in out
    assert "logistic 2: native" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.md", "bench.png"]
    text = (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")
    assert "`handgrad bench logistic --batch 2 --rounds 1 --no-compile`" in text


@pytest.mark.native
def test_json(capsys):
    assert main([*SHORT, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rows"][0]["batch"] == 2
    assert data["written"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "there is no model 'nosuch'"),
        (["--batch=x"], "--batch is x"),
        (["--rounds=0"], "cannot time 0 rounds"),
    ],
)
def test_what_it_refuses(capsys, arguments, message):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
