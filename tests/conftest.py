"""What all tests share: one thread, no deadlines, and the option that rewrites golden files."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # small tensors, and as many workers as cores with -n auto
settings.register_profile("handgrad", deadline=None)  # the first call of an op may take long
settings.load_profile("handgrad")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden from what is emitted now"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("--update-golden")
