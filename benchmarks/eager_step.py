"""One derived training step, run eagerly, against the same step written by hand.

Both run forward, backward and update on the same batches, in turn; printed is the ratio of their
times, the median over the pairs. Run: python benchmarks/eager_step.py [--pairs 3000]
"""

import argparse
import gc
import statistics
import time

import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.derive.step import compile_step
from handgrad.models import character_mlp as seed

NAMES = ("C", "Xb", "Yb", "W1", "b1", "bngain", "bnbias", "W2", "b2", "n")
LEAVES = ("C", "W1", "b1", "bngain", "bnbias", "W2", "b2")
RATE = 0.1


def by_hand(C, Xb, Yb, W1, b1, bngain, bnbias, W2, b2, n):
    """The published solution, with what costs time for nothing left out.

    The exercise's own `dC` is a Python loop over 96 letters; an expert uses index_add_. Its clones
    and its products with `torch.ones_like` are gone too.
    """
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * (bndiff2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
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

    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Yb] = -1.0 / n
    dprobs = (1.0 / probs) * dlogprobs
    dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    dcounts_sum = (-(counts_sum**-2)) * dcounts_sum_inv
    dcounts = counts_sum_inv * dprobs + dcounts_sum
    dnorm_logits = counts * dcounts
    dlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)
    dlogits = dnorm_logits + F.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1.0 - h**2) * dh
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnraw = bngain * dhpreact
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbnvar = (-0.5 * (bnvar + 1e-5) ** -1.5) * dbnvar_inv
    dbndiff2 = (1.0 / (n - 1)) * dbnvar
    dbndiff = bnvar_inv * dbnraw + (2 * bndiff) * dbndiff2
    dbnmeani = (-dbndiff).sum(0)
    dhprebn = dbndiff + 1.0 / n * dbnmeani
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    dC.index_add_(0, Xb.view(-1), demb.view(-1, C.shape[1]))
    return loss, (dC, dW1, db1, dbngain, dbnbias, dW2, db2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--lines", action="store_true", help="time each backward line alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(seed.SEED)
    values = seed.parameters(27, g)
    values["Xb"] = torch.randint(0, 27, (seed.BATCH, seed.BLOCK_SIZE), generator=g)
    values["Yb"] = torch.randint(0, 27, (seed.BATCH,), generator=g)
    arguments = [values.get(name, seed.BATCH) for name in NAMES]
    backward = hg.derive(hg.trace(seed.small_steps, *arguments))
    step = compile_step(backward)
    compare(step, values, arguments)
    if options.lines:
        time_lines(backward)
    report(*run(step, values, options.pairs))


def compare(step, values, arguments) -> None:
    """Refuse to time two steps that do not compute the same."""
    gradients = dict(zip(LEAVES, by_hand(*arguments)[1], strict=True))
    _, derived = step({**values, "n": seed.BATCH})
    for name, gradient in gradients.items():
        torch.testing.assert_close(derived[name], gradient, rtol=1e-4, atol=1e-6)


def run(step, values, pairs):
    """Return the times of both, in seconds, a pair for each round; the order alternates."""
    both = [
        (step.function, step.inputs, step.leaves, fresh(values)),
        (by_hand, NAMES, LEAVES, fresh(values)),
    ]
    times = ([], [])
    gc.disable()
    for round in range(pairs + 50):
        for which in (0, 1) if round % 2 else (1, 0):
            elapsed = timed(*both[which])
            if round >= 50:
                times[which].append(elapsed)
    gc.enable()
    return times


def fresh(values):
    return {"n": seed.BATCH, **{name: value.clone() for name, value in values.items()}}


@torch.no_grad()
def timed(function, names, leaves, values) -> float:
    """Return the seconds that one training step takes."""
    start = time.perf_counter()
    _, gradients = function(*[values[name] for name in names])
    for name, gradient in zip(leaves, gradients, strict=True):
        values[name] -= RATE * gradient
    return time.perf_counter() - start


def report(derived, hand) -> None:
    ratios = sorted(a / b for a, b in zip(derived, hand, strict=True))
    low, high = ratios[len(ratios) // 10], ratios[len(ratios) * 9 // 10]
    print(f"derived  {1e6 * statistics.median(derived):6.1f} µs a step (median)")
    print(f"by hand  {1e6 * statistics.median(hand):6.1f} µs a step (median)")
    print(
        f"ratio    {statistics.median(ratios):.3f} (median of {len(ratios)} pairs; "
        f"80 % between {low:.3f} and {high:.3f})"
    )


def time_lines(backward) -> None:
    """Print each backward line with the time that it takes alone."""
    scope = {"torch": torch, "F": F, **backward.trace.program.scalars, **backward.trace.values}
    scope[backward.start] = backward.trace.upstream
    for each in backward.lines:
        code = compile(each.line.text, "<line>", "exec")
        exec(code, scope)
        times = []
        for _ in range(500):
            start = time.perf_counter()
            exec(code, scope)
            times.append(time.perf_counter() - start)
        print(f"{1e6 * statistics.median(times):6.1f} µs  {each.line.text}")


if __name__ == "__main__":
    main()
