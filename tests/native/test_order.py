"""Updates in place: whatever reads a parameter reads it before it is overwritten, in any program."""

import random

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.derive import derive
from handgrad.native.lower.order import in_order, reads_elsewhere
from handgrad.native.lower.stages import stages
from handgrad.native.lower.step import lower_step
from handgrad.native.lower.update import Rule
from native.against import trains_as_torch

SGD = hg.nn.SGD(lr=0.1)
# Each parameter's gradient reads others, or itself at other places.
CIRCLES = {
    "a product": ("(a * b).sum()", {"a": (5,), "b": (5,)}),
    "dot": ("torch.dot(a, b)", {"a": (5,), "b": (5,)}),
    "vectors": ("a @ b", {"a": (1,), "b": (1,)}),
    "no axes": ("a * b", {"a": (), "b": ()}),
    "one row, one column": ("(a @ b).sum()", {"a": (1, 3), "b": (3, 1)}),
    "one entry": ("(a @ b).pow(2).sum()", {"a": (1, 1), "b": (1, 1)}),
    "one output": ("F.linear(a, b, c).pow(2).sum()", {"a": (1, 3), "b": (1, 3), "c": (1,)}),
    "three in a ring": (
        "(a * b + b * c + c * a).sum()",
        {"a": (4,), "b": (4,), "c": (4,)},
    ),
    "stretched": ("(a * b * c * d).sum()", {"a": (3,), "b": (3, 1), "c": (1, 3), "d": ()}),
    "its transpose": ("(a * a.T * a).sum()", {"a": (3, 3)}),
    "itself backwards": ("(a * a.flip(0)).sum()", {"a": (4, 3)}),
    "itself turned": ("(a * a.roll(1, 0) * a.roll(1, 1)).sum()", {"a": (4, 3)}),
    "its rows picked": ("(a[[1, 1, 2]] * a[[0, 3, 3]]).sum()", {"a": (5, 3)}),
    "itself and another": ("(a * b.T).sum() + (b @ a).trace()", {"a": (3, 4), "b": (4, 3)}),
    "an embedding": (
        "(F.embedding(i, a).gather(1, i[:, None]) * F.embedding(i, a)).sum()",
        {"a": (3, 4)},
    ),
}


def setting(case):
    text, shapes = CIRCLES[case]
    scope = {"torch": torch, "F": F, "i": torch.tensor([1, 2])}
    names = ", ".join(shapes)
    exec(f"def forward({names}):\n    loss = {text}\n    return loss", scope)
    g = torch.Generator().manual_seed(1)
    args = {n: torch.randn(s, generator=g, dtype=torch.float64) for n, s in shapes.items()}
    return scope["forward"], args


@pytest.mark.native
@pytest.mark.parametrize("case", CIRCLES)
def test_parameters_that_are_each_others_gradients_are_trained(case):
    forward, args = setting(case)
    trains_as_torch(forward, args, list(args))


@pytest.mark.native
@pytest.mark.parametrize("optimizer", [hg.nn.SGD(0.1, momentum=0.9), hg.nn.Adam(0.01)])
def test_what_an_optimiser_keeps_is_in_time_too(optimizer):
    forward, args = setting("three in a ring")
    theirs = [t.clone().requires_grad_() for t in args.values()]
    momentum = isinstance(optimizer, hg.nn.SGD)
    own = torch.optim.SGD(theirs, 0.1, momentum=0.9) if momentum else torch.optim.Adam(theirs, 0.01)
    m = hg.compile(forward, **args, optimizer=optimizer)
    for _ in range(3):
        own.zero_grad()
        forward(*theirs).backward()
        own.step()
        m.step()
    for mine, truth in zip(args.values(), theirs, strict=True):
        torch.testing.assert_close(mine, truth.detach(), rtol=1e-9, atol=1e-12)


def program(seed):
    """Return a program in which many parameters of several shapes are multiplied at random."""
    rng = random.Random(seed)
    shapes = rng.choices([(), (1,), (3,), (1, 3), (3, 1), (3, 3)], k=rng.randint(2, 6))
    names = [f"p{k}" for k in range(len(shapes))]
    terms = ["*".join(rng.choices(names, k=rng.randint(2, 4))) for _ in range(rng.randint(1, 5))]
    space: dict = {}
    loss = " + ".join(f"({term}).sum()" for term in terms)
    exec(f"def forward({', '.join(names)}):\n    loss = {loss}\n    return loss", space)
    return space["forward"], {n: torch.randn(s) for n, s in zip(names, shapes, strict=True)}


@pytest.mark.parametrize("seed", range(40))
def test_every_program_has_an_order(seed):
    forward, args = program(seed)
    trace = hg.trace(forward, **args)
    step = lower_step(derive(trace), trace.leaves, Rule(SGD))
    into = {array: name for name, array in step.updates.items()}
    found, before = in_order(stages([step.output, *into], into), step.output)
    place = {stage: k for k, stage in enumerate(found)}
    assert {s.into for s in found if s.into} == set(step.updates)
    for stage in found:
        assert not reads_elsewhere(stage)
        assert all(place[each] < place[stage] for each in before[stage])
        for source in stage.sources - {stage.array}:
            if source.kind == "input":
                writers = [s for s in found if s.into == source.name and s is not stage]
                assert all(place[stage] < place[writer] for writer in writers)
