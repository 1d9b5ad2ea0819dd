"""Native code under the address and undefined-behaviour sanitizers, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.native, pytest.mark.slow, pytest.mark.timeout(3000)]
SUITE = [
    "test_table.py",
    "test_compile.py",
    "test_programs.py",
    "test_fused.py",
    "test_products.py",
]


@pytest.mark.parametrize("name", SUITE)
def test_the_suite_is_clean(name, tmp_path):
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc has the sanitizers' libraries where a process can be given them")
    found = subprocess.run(
        [gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    library = found.stdout.strip()
    exceptions = subprocess.run(
        [gcc, "-print-file-name=libstdc++.so"], capture_output=True, text=True, check=True
    )
    if not Path(library).is_absolute():
        pytest.skip("no address sanitizer")
    env = {
        **os.environ,
        "CC": gcc,
        "LD_PRELOAD": f"{library} {exceptions.stdout.strip()}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=77",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=77",
        "HANDGRAD_CFLAGS": "-fsanitize=address,undefined -fno-sanitize-recover=all -O1",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--timeout=2500", str(here / name)],
        env=env,
        cwd=here.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
