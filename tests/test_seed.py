"""The seed's forward pass, its twenty published lines, from every way in."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch

import handgrad as hg
from agree import agree
from handgrad.models import character_mlp
from handgrad.trace.files import trace_file
from handgrad.train.data import Vocabulary, build_dataset, load_words

BODY = inspect.getsource(character_mlp.small_steps).splitlines()
LINES = [line.strip() for line in BODY if line.startswith("    ") and " = " in line]


def inputs(dtype=torch.float32, seed=character_mlp.SEED, hidden=64):
    words = load_words()[:2000]
    vocabulary = Vocabulary.from_words(words)
    X, Y = build_dataset(words, vocabulary)
    generator = torch.Generator().manual_seed(seed)
    made = character_mlp.parameters(len(vocabulary), generator, n_hidden=hidden, dtype=dtype)
    batch = torch.randint(0, len(X), (32,), generator=generator)
    return {**made, "Xb": X[batch], "Yb": Y[batch], "n": 32}


@pytest.fixture(scope="module")
def trace():
    return hg.trace(character_mlp.small_steps, **inputs())


def test_lines_are_the_published_ones():
    assert len(LINES) == 20


def test_function_is_traced_verbatim(trace):
    assert [line.text for line in trace.lines] == LINES
    assert trace.program.scalars == {"n": 32}


def test_file_is_traced_verbatim(tmp_path):
    file = tmp_path / "seed.py"
    set_up = (
        "import torch\nfrom handgrad.models import character_mlp\n"
        "g = torch.Generator().manual_seed(1)\n"
        "p = character_mlp.parameters(27, g, n_hidden=64)\n"
        "C, W1, b1, W2, b2, bngain, bnbias = p.values()\n"
        "for q in p.values():\n    q.requires_grad = True\n"
        "n = 32\nXb = torch.randint(0, 27, (n, 3), generator=g)\n"
        "Yb = torch.randint(0, 27, (n,), generator=g)\n"
    )
    file.write_text(set_up + "\n".join(LINES) + "\n")
    trace = trace_file(str(file))
    assert [line.text for line in trace.lines] == LINES
    assert set(trace.leaves) == {"C", "W1", "b1", "W2", "b2", "bngain", "bnbias"}


def test_with_block_is_traced_verbatim():
    # fmt: off
    given = inputs()
    C, W1, b1, W2, b2, bngain, bnbias = (given[k].requires_grad_() for k in "C W1 b1 W2 b2 bngain bnbias".split())
    Xb, Yb, n = given["Xb"], given["Yb"], given["n"]
    with hg.recording() as trace:
        emb = C[Xb]
        embcat = emb.view(emb.shape[0], -1)
        hprebn = embcat @ W1 + b1
        bnmeani = 1/n*hprebn.sum(0, keepdim=True)
        bndiff = hprebn - bnmeani
        bndiff2 = bndiff**2
        bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)
        bnvar_inv = (bnvar + 1e-5)**-0.5
        bnraw = bndiff * bnvar_inv
        hpreact = bngain * bnraw + bnbias
        h = torch.tanh(hpreact)
        logits = h @ W2 + b2
        logit_maxes = logits.max(1, keepdim=True).values
        norm_logits = logits - logit_maxes
        counts = norm_logits.exp()
        counts_sum = counts.sum(1, keepdims=True)
        counts_sum_inv = counts_sum**-1
        probs = counts * counts_sum_inv
        logprobs = probs.log()
        loss = -logprobs[range(n), Yb].mean()
    # fmt: on
    assert [line.text for line in trace.lines] == LINES
    assert trace.output == "loss"
    assert torch.equal(trace.values["loss"], loss.detach())


def test_backward_is_short_and_in_the_users_names(trace):
    source = hg.derive(trace, strict=True).source
    tree = ast.parse(source)
    assigned = [n for n in ast.walk(tree) if isinstance(n, ast.Assign)]
    assert len(assigned) <= 36
    known = set(trace.values) | {"d" + n for n in trace.values} | {"n", "torch", "F"}
    assert {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} <= known


def test_backward_is_the_same_text_every_time(trace):
    again = hg.trace(character_mlp.small_steps, **inputs())
    assert hg.derive(trace).source == hg.derive(again).source


def test_float64_within_1e12_of_autograd():
    agree(character_mlp.small_steps, rtol=1e-12, **inputs(torch.float64))


def test_float32_is_bit_for_bit_autograds_from_the_loss_up_to_h(trace):
    found = hg.derive(trace).run()
    above = LINES[LINES.index("logits = h @ W2 + b2") :]
    names = [line.split(" = ")[0] for line in above if not line.startswith("loss")]
    for name in [*names, "h", "W2", "b2"]:
        assert torch.equal(found["d" + name], trace.grads[name]), name


BELOW = "hpreact bngain bnraw bnbias bnvar_inv bnvar bndiff2 bndiff bnmeani hprebn embcat W1 emb C"


@pytest.mark.parametrize("seed", range(1, 11))
def test_float32_below_h_is_at_most_twice_autograds_error(seed):
    single = inputs(seed=seed)
    wide = {
        k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v
        for k, v in single.items()
    }
    exact = hg.trace(character_mlp.small_steps, **wide).grads
    trace = hg.trace(character_mlp.small_steps, **single)
    found = hg.derive(trace).run()
    for name in BELOW.split():
        mine = (found["d" + name].double() - exact[name]).norm()
        own = (trace.grads[name].double() - exact[name]).norm()
        assert mine <= 2 * own, f"{name}: {mine / own:.2f} times autograd's"
