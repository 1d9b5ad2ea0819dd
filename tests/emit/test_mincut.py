"""The cheapest cut, against trying every set; and which rows of the op table are never remade."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.emit.mincut import cheapest_cut
from handgrad.index import parse, reduction
from handgrad.ops import TABLE


@st.composite
def graphs(draw):
    """Draw nodes in order, each made from earlier ones; those made from none are given."""
    count = draw(st.integers(2, 6))
    reads = {
        node: draw(st.sets(st.integers(0, node - 1), max_size=3)) if node else set()
        for node in range(count)
    }
    costs = {node: draw(st.integers(0, 5)) for node in range(count)}
    once = {node for node in range(count) if not reads[node] or draw(st.booleans())}
    wanted = draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=2))
    return costs, {n: r for n, r in reads.items() if n not in once}, once, wanted


def enough(kept, reads, once, wanted):
    """Tell whether all that is wanted can be made from what is kept."""
    there = set(kept)
    for node in sorted(reads):
        if node not in once and all(other in there for other in reads[node]):
            there.add(node)
    return wanted <= there


@given(graphs())
@settings(max_examples=200)
def test_no_set_costs_less(drawn):
    costs, reads, once, wanted = drawn
    kept = cheapest_cut(costs, reads, once, wanted)
    assert enough(kept, reads, once, wanted)
    least = min(
        sum(costs[node] for node in some)
        for size in range(len(costs) + 1)
        for some in itertools.combinations(costs, size)
        if enough(some, reads, once, wanted)
    )
    assert sum(costs[node] for node in kept) == least


def test_of_equal_costs_the_one_nearest_to_the_end_is_kept():
    assert cheapest_cut({0: 1, 1: 1, 2: 1}, {1: [0], 2: [1]}, [0], [2]) == {2}
    assert cheapest_cut({0: 1, 1: 1, 2: 2}, {1: [0], 2: [1]}, [0], [2]) == {1}


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
