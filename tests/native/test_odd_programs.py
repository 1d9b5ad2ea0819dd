"""Small odd programs are trained as by autograd, or eagerly with a reason; none hangs or crashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad.native.making import BROKEN
from native import odd

pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("ignore::UserWarning")]
SECONDS = 60  # a program
MANY = 20
FINE = ("ok", "eager: ", "refused: ", "skipped: ")


def fine(said):
    return said.startswith(FINE) and BROKEN not in said


@pytest.mark.parametrize("seed", range(12))
def test_an_odd_program_is_trained_as_by_autograd(seed):
    assert fine(odd.judge(seed)), odd.Odd(seed).grown().source


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * MANY)
@pytest.mark.parametrize("first", range(1000, 1500, MANY))
def test_odd_programs_at_length(first):
    # in a process of their own, which may crash or hang
    done = subprocess.run(
        [sys.executable, odd.__file__, str(first), str(first + MANY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS * MANY,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(odd.__file__).parents[2] / "src"), *sys.path]),
        },
    )
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, f"seed {first + len(found)}: {done.stderr[-500:]}"
    bad = {seed: said for seed, said in found.items() if not fine(said)}
    assert not bad
