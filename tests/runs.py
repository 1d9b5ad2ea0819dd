"""Small runs for the tests: words, settings, and how two runs are compared to the last bit."""

import json
from pathlib import Path

from handgrad.train import load_words

GIVEN = {
    "steps": 60,
    "every": 7,
    "record": 5,
    "turn": 30,
    "batch": 8,
    "keep": 3,
    "backend": "eager",
}


def write_words(path: Path, count: int = 200) -> Path:
    path.write_text("\n".join(load_words()[:count]) + "\n", encoding="utf-8")
    return path


def settings(words: Path, **more) -> dict:
    return {**GIVEN, "data": str(words), **more}


def last(run: Path) -> Path:
    name = (run / "checkpoints" / "LATEST").read_text().split()[0]
    return run / "checkpoints" / name


def content(run: Path) -> dict[str, bytes]:
    """Return everything in which two runs of the same settings must agree."""
    found = {path.name: path.read_bytes() for path in last(run).glob("*.safetensors")}
    state = json.loads((last(run) / "state.json").read_text())
    for name in ("every", "keep"):
        del state["settings"][name]
    found["state.json"] = json.dumps(state, sort_keys=True).encode()
    for name in ("loss.csv", "log.jsonl"):
        found[name] = (run / name).read_bytes()
    return found


def assert_same(run: Path, other: Path) -> None:
    mine, theirs = content(run), content(other)
    assert list(mine) == list(theirs)
    for name, data in mine.items():
        assert data == theirs[name], name
