"""The page on cut corners says what the simplifier does now."""

import runpy
from pathlib import Path

import pytest

from simplify.running import has_simplify

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "corner-cuts.md"


@pytest.mark.slow
@pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")
def test_page_is_up_to_date():
    made = runpy.run_path(str(ROOT / "benchmarks" / "corner_cuts.py"))
    again = "run `python benchmarks/corner_cuts.py --write`"
    assert PAGE.read_text(encoding="utf-8") == made["page"](), again
