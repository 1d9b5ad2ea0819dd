"""The cheapest cut, against trying every set; and which rows of the op table are never remade."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.emit.mincut import cheapest_cut
from handgrad.index import parse, reduction
from handgrad.ops import TABLE


@st.composite
def graphs(draw):
    """Draw nodes in order, each made from earlier ones; some cannot be made again."""
    count = draw(st.integers(2, 6))
    reads = {
        node: draw(st.sets(st.integers(0, node - 1), max_size=3)) if node else set()
        for node in range(count)
    }
    costs = {node: draw(st.integers(0, 5)) for node in range(count)}
    again = {n: draw(st.integers(0, 3)) for n in range(count) if reads[n] and draw(st.booleans())}
    wanted = draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=2))
    return costs, {n: reads[n] for n in again}, again, wanted


def price(kept, reads, again, wanted):
    """Return what must be made again from what is kept costs, None if that is not enough."""
    total, waiting, seen = 0, list(wanted), set(kept)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in again:
            return None
        total += again[node]
        waiting += reads[node]
    return total


@given(graphs())
@settings(max_examples=200)
def test_no_set_costs_less(drawn):
    costs, reads, again, wanted = drawn
    kept = cheapest_cut(costs, reads, again, wanted)
    mine = price(kept, reads, again, wanted)
    assert mine is not None
    every = (
        (some, price(some, reads, again, wanted))
        for size in range(len(costs) + 1)
        for some in itertools.combinations(costs, size)
    )
    least = min(sum(costs[n] for n in some) + more for some, more in every if more is not None)
    assert sum(costs[node] for node in kept) + mine == least


def test_of_equal_costs_the_one_nearest_to_the_end_is_kept():
    chain = {1: [0], 2: [1]}
    assert cheapest_cut({0: 1, 1: 1, 2: 1}, chain, {1: 0, 2: 0}, [2]) == {2}
    assert cheapest_cut({0: 1, 1: 1, 2: 2}, chain, {1: 0, 2: 0}, [2]) == {1}


def test_what_is_dear_to_make_again_is_kept():
    assert cheapest_cut({0: 0, 1: 2}, {1: [0]}, {1: 1}, [1]) == {0}
    assert cheapest_cut({0: 0, 1: 2}, {1: [0]}, {1: 3}, [1]) == {1}


def test_products_are_never_made_again():
    import ast

    for row in TABLE.rows:
        equation = parse(row.index) if row.index else None
        sums = [n for n in ast.walk(equation.value) if reduction(n)] if equation else []
        for node in sums:
            inside = {
                part.left.value.id
                for part in ast.walk(node)
                if isinstance(part, ast.BinOp)
                and isinstance(part.op, ast.Mult)
                and isinstance(part.left, ast.Subscript)
                and isinstance(part.right, ast.Subscript)
                and part.left.value.id != part.right.value.id
            }
            assert row.heavy or not inside, row.name
