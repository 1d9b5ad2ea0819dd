"""The seed's step in JAX: `jit` of a `scan` over batches, on one thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from handgrad.bench.models import RATE, Case

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
AT_ONCE = 256  # steps of a scan


def scanned(case: Case) -> Callable[[int], None]:
    """Prepare the seed's step; a call does at least AT_ONCE steps."""
    for name, value in (("XLA_FLAGS", ONE_THREAD), ("PJRT_NPROC", "1"), ("NPROC", "1")):
        os.environ.setdefault(name, value)
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    data = {name: jnp.asarray(tensor.numpy()) for name, tensor in case.data.items()}
    own = {name: jnp.asarray(tensor.numpy()) for name, tensor in case.copies().items()}
    gradients = jax.value_and_grad(loss_of(jax, jnp))

    def step(p: Any, rows: Any) -> Any:
        loss, found = gradients(p, data["Xb"][rows], data["Yb"][rows])
        return {name: p[name] - RATE * found[name] for name in p}, loss

    many = jax.jit(lambda p, rows: jax.lax.scan(step, p, rows))
    generator = torch.Generator().manual_seed(1)
    now = [own]

    def steps(count: int) -> None:
        for _ in range(max(1, count // AT_ONCE)):
            size = (AT_ONCE, case.batch)
            rows = torch.randint(0, len(case.data["Xb"]), size, generator=generator)
            now[0], losses = many(now[0], jnp.asarray(rows.numpy()))
            losses.block_until_ready()

    steps(1)
    return steps


def loss_of(jax: Any, jnp: Any) -> Callable[..., Any]:
    """Return the seed's forward pass."""

    def loss(p: Any, X: Any, Y: Any) -> Any:
        n = X.shape[0]
        hprebn = p["C"][X].reshape(n, -1) @ p["W1"] + p["b1"]
        diff = hprebn - hprebn.mean(0, keepdims=True)
        var = (diff**2).sum(0, keepdims=True) / (n - 1)
        h = jnp.tanh(p["bngain"] * diff * (var + 1e-5) ** -0.5 + p["bnbias"])
        logits = h @ p["W2"] + p["b2"]
        return -jax.nn.log_softmax(logits)[jnp.arange(n), Y].mean()

    return loss
