"""Truth minus yours: the missing term of a hand-written line, and equal forms recognised."""

import pytest
import torch

import handgrad as hg
from handgrad.models import character_mlp
from handgrad.simplify.difference import difference

# fmt: off
EQUAL = {
    "short cross-entropy": ("dlogits", ["dlogits = (probs - F.one_hot(Yb, num_classes=27))/n"]),
    "published cross-entropy": ("dlogits", ["dlogits = F.softmax(logits, 1) - F.one_hot(Yb, num_classes=27)", "dlogits = dlogits / n"]),
    "published batch norm": ("dhprebn", ["dhprebn = bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))"]),
    "tanh written with a square": ("dhpreact", ["dhpreact = dh - dh * h * h"]),
    "in two lines": ("dcounts", ["dcounts = counts_sum_inv * dprobs", "dcounts += torch.ones_like(counts) * dcounts_sum"]),
    "a row sum by hand": ("dlogit_maxes", ["dlogit_maxes = 0 * logit_maxes"]),
}
MISSING = {
    "one-hot forgotten": ("dlogits", ["dlogits = probs/n"], "-F.one_hot(Yb, num_classes=logits.shape[1]) / n"),
    "output not squared": ("dhpreact", ["dhpreact = (1-h)*dh"], "dh * h * (1 - h)"),
    "one path of two": ("dbndiff", ["dbndiff = bnvar_inv*dbnraw"], "-1/(n - 1) * bnvar_inv * bnraw * (dbnraw * bnraw).sum(dim=0, keepdim=True)"),
}
# fmt: on


@pytest.fixture(scope="module")
def seed():
    generator = torch.Generator().manual_seed(2)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    C, W1, b1, gain = drawn(27, 10), drawn(30, 64), drawn(64), drawn(1, 64)
    bias, W2, b2 = drawn(1, 64), drawn(64, 27), drawn(27)
    X = torch.randint(0, 27, (32, 3), generator=generator)
    Y = torch.randint(0, 27, (32,), generator=generator)
    trace = hg.trace(character_mlp.small_steps, C, X, Y, W1, b1, gain, bias, W2, b2, 32)
    return trace, hg.derive(trace)


@pytest.mark.parametrize("name", EQUAL)
def test_equal_forms_are_recognised(seed, name):
    target, lines = EQUAL[name]
    found = difference(seed[1], target, lines)
    assert found is not None
    assert found.equal, found.missing


@pytest.mark.parametrize("name", MISSING)
def test_missing_term_completes_the_line(seed, name):
    trace, backward = seed
    target, lines, _ = MISSING[name]
    found = difference(backward, target, lines)
    assert found is not None
    scope = {"torch": torch, "F": torch.nn.functional, **trace.program.scalars, **trace.values}
    scope |= {"dloss": trace.upstream, **{f"d{n}": g for n, g in trace.grads.items()}}
    exec("\n".join(lines), scope)
    exec(f"whole = {target} + {found.missing}", scope)
    torch.testing.assert_close(scope["whole"], trace.grads[target[1:]], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "lines", [["dh = mystery(dlogits)"], ["dh = dlogits @"], [], ["for i in x: pass"]]
)
def test_what_has_no_normal_form_is_left_alone(seed, lines):
    assert difference(seed[1], "dh", lines) is None
