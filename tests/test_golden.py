"""Emitted backward passes as real files, reviewed as code, byte for byte."""

from pathlib import Path

import pytest
import torch

import handgrad as hg
from handgrad.emit import module
from handgrad.models import character_mlp
from handgrad.trace.files import trace_file

HERE = Path(__file__).parent
EXAMPLES = ("mlp", "mlp_layer_norm", "self_attention", "gru", "conv_net", "gpt_block", "svm", "vae")


def seed() -> hg.Trace:
    generator = torch.Generator().manual_seed(1)
    given = character_mlp.parameters(27, generator, n_hidden=64)
    given["Xb"] = torch.randint(0, 27, (32, 3), generator=generator)
    given["Yb"] = torch.randint(0, 27, (32,), generator=generator)
    return hg.trace(character_mlp.small_steps, **given, n=32)


@pytest.mark.parametrize("name", ["seed", *EXAMPLES])
def test_emitted_file_is_the_golden_one(name, update_golden):
    file = HERE.parent / "examples" / f"{name}.py"
    trace = seed() if name == "seed" else trace_file(str(file))
    text = module(hg.derive(trace), name)
    golden = HERE / "golden" / f"{name}.py"
    if update_golden:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
