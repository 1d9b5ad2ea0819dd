"""Holds the code to its sizes and keeps absolute paths of one machine out of the project."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 420
MAX_FUNCTION_LINES = 45
SOURCES = sorted((ROOT / "src").rglob("*.py"))

# A folder at the root of one machine's disk. URLs, relative paths and `a/work/b` do not match.
MACHINE_PATH = re.compile(r"(?<![\w.~/:-])/(?:work|root|home|Users|mnt)/\w")


def long_functions(source: str) -> Iterator[str]:
    """Yield a description of each function that is too long, decorators not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.name} (line {node.lineno}) has {lines} lines"


def project_files() -> list[Path]:
    """Return the files that git tracks or would add."""
    git = shutil.which("git")
    listing = git and subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not listing or listing.returncode:
        pytest.skip("not a git checkout: cannot tell the project's files from others")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_files_and_functions_stay_small(path: Path):
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    assert lines <= MAX_FILE_LINES, f"{path.name} has {lines} lines: split it"
    assert not list(long_functions(source))


def test_a_long_function_is_noticed():
    body = "    pass\n" * MAX_FUNCTION_LINES
    assert list(long_functions(f"class A:\n  async def f(self):\n{body}")) == [
        f"f (line 2) has {MAX_FUNCTION_LINES + 1} lines"
    ]
    assert not list(long_functions("def f():\n" + "    pass\n" * (MAX_FUNCTION_LINES - 1)))


def test_no_file_names_a_path_of_one_machine():
    found = []
    for path in project_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # an image
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(lines, start=1)
            if MACHINE_PATH.search(line)
        ]
    assert not found


@pytest.mark.parametrize("folder", ["work", "root", "home", "Users"])
def test_a_path_of_one_machine_is_noticed(folder: str):
    assert MACHINE_PATH.search(f'open("/{folder}/someone/data.txt")')
    assert not MACHINE_PATH.search(f"see ./{folder}/data, docs/{folder}/x, https://{folder}/x")
