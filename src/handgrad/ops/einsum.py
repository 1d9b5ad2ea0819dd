"""The row of einsum, and the words that turn its equation around."""

import re
from typing import Any

import torch

from handgrad.ops.declare import call, op


def sides(equation: str) -> tuple[list[list[str]], list[str]]:
    """Split an equation into the labels of each operand and of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [re.findall(r"\.\.\.|[A-Za-z]", term) for term in left.split(",")]
    if arrow:
        return terms, re.findall(r"\.\.\.|[A-Za-z]", right)
    every = [label for term in terms for label in term]
    once = sorted(label for label in every if every.count(label) == 1 and label != "...")
    return terms, ["..."] * ("..." in every) + once


def invertible(equation: str, operands: Any) -> bool:
    """Tell whether no operand repeats a label and what is summed over has one size."""
    terms, result = sides(equation)
    repeated = any(len(set(term)) < len(term) for term in terms)
    summed = {label for term in terms for label in term if label not in result}
    return not repeated and all(len(sizes(label, terms, operands)) == 1 for label in summed)


def sizes(label: str, terms: list[list[str]], operands: Any) -> set[Any]:
    """Return the different sizes (of `...`, shapes) that a label has among the operands."""
    return {
        tuple(x.shape[term.index(label) :][: x.ndim - len(term) + 1])
        if label == "..."
        else x.shape[place_of(label, term)]
        for term, x in zip(terms, operands, strict=True)
        if label in term
    }


def place_of(label: str, term: list[str]) -> int:
    """Return the axis of a label, counted from the right where `...` stands before it."""
    place = term.index(label)
    return place - len(term) if "..." in term[:place] else place


def identity(equation: str) -> bool:
    """Tell whether an equation of one operand leaves it as it is."""
    terms, result = sides(equation)
    return terms == [result]


def turned(equation: str, place: int) -> str:
    """Return the equation from the result and the other operands to one operand's gradient."""
    terms, result = sides(equation)
    others = terms[:place] + terms[place + 1 :]
    found = [label for label in terms[place] if label not in lost(equation, place)]
    return ",".join(map("".join, [result, *others])) + "->" + "".join(found)


def lost(equation: str, place: int) -> list[str]:
    """Return the labels of one operand that were summed in it alone."""
    terms, result = sides(equation)
    seen = {label for term in [result, *terms[:place], *terms[place + 1 :]] for label in term}
    return [label for label in terms[place] if label not in seen]


def regrown(dx: Any, x: Any, equation: str, place: int) -> Any:
    """Repeat a gradient along the axes of `x` that were summed in it alone."""
    labels = sides(equation)[0][place]
    gone = lost(equation, place)
    wide = labels.index("...") if "..." in labels else len(labels)
    for label in labels[:wide]:
        dx = dx.unsqueeze(labels.index(label)) if label in gone else dx
    for label in reversed(labels[wide:]):  # `...` is any number of axes, so from the right
        for _ in range(x.ndim - len(labels) + 1 if label == "..." else 1):
            dx = dx.unsqueeze(labels.index(label) - len(labels)) if label in gone else dx
    return dx.expand_as(x) if gone else dx


ROWS = [
    op(
        "torch.einsum(equation, *operands)",
        index=None,
        heavy=True,
        when=lambda equation, operands: (
            isinstance(equation, str) and invertible(equation, operands)
        ),
        fold=lambda equation, operands: operands[0] if identity(equation) else None,
        doperands=lambda dy, equation, operands: tuple(
            regrown(
                torch.einsum(
                    turned(equation, place), dy, *operands[:place], *operands[place + 1 :]
                ),
                x,
                equation,
                place,
            )
            for place, x in enumerate(operands)
        ),
        why={"operands": "each operand changes places with the result in the equation"},
        examples=[
            call("ij,jk->ik", (3, 4), (4, 5)),
            call("bij, bjk -> bik", (2, 3, 4), (2, 4, 5)),
            call("ij,jk", (3, 4), (4, 5)),
            call("i,j->ij", (3,), (4,)),
            call("i,i->", (4,), (4,)),
            call("ji->ij", (3, 4)),
            call("ij->ij", (3, 4)),
            call("ba", (3, 4)),
            call("ijk->j", (2, 3, 4)),
            call("ij->", (3, 4)),
            call("ijk,kl->jl", (2, 3, 4), (4, 5)),
            call("ij,k->jk", (2, 3), (4,)),
            call("ij,ij->ij", (3, 1), (3, 4)),
            call("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
            call("...ij,jk", (2, 3, 4), (4, 5)),
            call("...ij,...ik->jk", (2, 3, 4), (2, 3, 5)),
            call("i...,...->i...", (3, 2, 4), (1, 4)),
            call("i...k->...", (3, 2, 4)),
            call("i...->i", (3, 2, 4)),
            call("...i->i", (3, 2, 4)),
            call("i...jk->...", (3, 2, 4, 5)),
            call("ij...kl->j...", (3, 2, 4, 5)),
            call("...i,...i->...", (3, 4), (2, 1, 4)),
            call("bi,ijk,bk->bj", (2, 3), (3, 4, 5), (2, 5)),
        ],
    ),
]
