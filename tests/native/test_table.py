"""Every example of every row of the op table: native code gives what torch gives."""

import pytest

from handgrad.native.bind import Bound
from handgrad.native.build import build
from handgrad.native.compilers import FLAGS
from handgrad.native.lower.array import CTYPES, Graph
from handgrad.native.lower.calls import CannotLower, Lowering
from handgrad.native.lower.step import Step
from handgrad.native.write.unit import write_unit
from handgrad.ops import TABLE
from native.against import distance
from rows import evaluate, gradients, make, upstream_of

pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("ignore::UserWarning")]
CHUNK = 12
ROWS = [row for row in TABLE.rows if not row.random]
QUICK = tuple("-O1" if flag == "-O3" else flag for flag in FLAGS)
# What native code does not do: order, and results whose size or type depends on more than sizes.
REFUSED = {
    "take_along_dim_any",
    "median", "median_dim", "kthvalue", "cummax", "cummin", "sort", "topk", "argsort",
    "max_dim", "min_dim",  # of a tensor without axes
    "index", "mask_index", "masked_select", "masked_scatter", "index_put_mask",  # masks
    "half", "bfloat16",
}  # fmt: skip
EXACT = 1e-11


def cases(row):
    for example in row.examples:
        yield make(row, example)


def expressions(case, prefix):
    """Yield the call's outputs and its gradients with the values that torch gives."""
    found = case.row.spellings[0].run(**case.bound)
    truths = found if isinstance(found, tuple | list) else (found,)
    yield from ((f"{prefix}y{k}", case.call, k, truth) for k, truth in enumerate(truths))
    upstream, values = upstream_of(case.call)
    if not case.wanted:
        return
    values = {**values, **case.tensors}
    for name, expr in gradients(case.call, set(case.wanted), upstream).items():
        yield f"{prefix}d{name}", expr, None, evaluate(expr, values)


def lower_case(case, prefix, graph, given, wanted):
    """Lower one example into a graph; what comes out of it is added to `wanted`."""
    lowering = Lowering(graph)
    _, cotangents = upstream_of(case.call)
    for name, tensor in {**case.tensors, **cotangents}.items():
        if tensor.dtype not in CTYPES:
            raise CannotLower("a dtype")
        slot = f"{prefix}{name}"
        lowering.names[name] = graph.input(slot, tuple(tensor.shape), CTYPES[tensor.dtype])
        given[slot] = tensor.contiguous()
    for slot, expr, place, truth in expressions(case, prefix):
        made = lowering.call(expr) if place is not None else lowering.lower(expr)
        wanted[slot] = (made[place] if isinstance(made, tuple) else made), truth


@pytest.mark.parametrize("first", range(0, len(ROWS), CHUNK))
def test_native_code_of_every_example_equals_torch(first):
    graph, given, wanted, refused = Graph(), {}, {}, set()
    for row in ROWS[first : first + CHUNK]:
        for k, case in enumerate(cases(row)):
            try:
                lower_case(case, f"{row.name}_{k}_", graph, given, wanted)
            except CannotLower as error:
                refused.add(row.name)
                print(row.name, error.what)
    assert refused <= REFUSED
    outputs = {slot: array for slot, (array, _) in wanted.items()}
    inputs = {a.name: a for a in graph.made.values() if a.kind == "input"}
    some = next(iter(outputs.values()))
    unit = write_unit(Step(graph, inputs, graph.constants, some, {}, {}), outputs)
    bound = Bound(unit, build(unit.source, flags=QUICK), inputs)
    for name, tensor in {**given, **graph.constants}.items():
        bound.bind(name, tensor)
    bound.run()
    for slot, (_, truth) in wanted.items():
        got = bound.output(slot)
        assert (got.shape, got.dtype) == (truth.shape, truth.dtype), slot
        if truth.numel():
            finite = truth.double().masked_fill(~truth.double().isfinite(), 0)
            scale = max(1.0, float(finite.abs().max()))
            assert distance(got, truth, scale) <= EXACT, (slot, got, truth)
