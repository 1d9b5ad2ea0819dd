"""Reasons: why this sum, this transpose, this +, this 1/n."""

import torch

import handgrad as hg
from agree import double


def reasons(forward, **arguments):
    made = hg.explain(hg.derive(hg.trace(forward, **arguments)))
    return {reason.line.split(" = ")[0]: reason.because for reason in made}


def forward(x, W, b):
    h = x @ W + b
    mean = h.mean(0, keepdim=True)
    diff = h - mean
    loss = (diff**2).sum()
    return loss


def test_each_line_has_a_reason_in_one_sentence():
    found = reasons(forward, x=double(5, 3), W=double(3, 7, seed=1), b=double(7, seed=2))
    assert "b [7] was broadcast over the 5 rows of dim 0, so it is summed there" in found["db"]
    assert "transposed" in found["dW"]
    assert found["dh"].startswith("h is used twice, so its contributions add: through diff,")
    assert "1/n" in found["dh"]
    assert "sign" in found["dmean"]
    assert all(text.endswith(".") and "  " not in text for text in found.values())


def test_gather_says_that_repeats_add():
    def gather(C, i):
        loss = C[i].square().sum()
        return loss

    found = reasons(gather, C=double(5, 3), i=torch.tensor([1, 1, 4]))
    assert "several times" in found["dC"]


def test_every_rule_of_the_table_has_a_reason():
    from handgrad.ops import TABLE

    silent = [
        f"{row.name}.{param}" for row in TABLE.rows for param in row.rules if param not in row.why
    ]
    assert not silent
