"""Which axis each index label goes to, so that broadcasting does what the formula says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handgrad.simplify.normal import ABSENT
from handgrad.simplify.text import ATOM, Piece
from handgrad.simplify.words import Pick


@dataclass(frozen=True)
class Frame:
    """Where labels go inside a sum.

    Attributes:
        position: label to axis, counted from the right.
        bound: the labels that are summed over.
        arguments: what `sum` or `mean` is called with.
    """

    position: dict[int, int]
    bound: frozenset[int]
    arguments: str


def frame_of(group: list[Pick], rank: int | None, most: int) -> Frame | None:
    """Return where the labels of a sum's factors go, None if no layout fits.

    Args:
        group: the factors.
        rank: the most axes that the result may have; None where broadcasting is free to add some.
        most: the most axes that a factor's text may have, those of size 1 too.
    """
    bound = frozenset(i for pick in group for i in pick.at if i >= 0)
    free = {i for pick in group for i in pick.at if ABSENT < i < 0}
    for position in layouts(group):
        if len(set(position.values())) < len(position):
            continue
        ranks = (len(pick.at) for pick in group if natural(pick, position))
        deep = max(1, *(-p for p in position.values()), *ranks)
        keep = all(position[i] == i for i in free)
        dropped = all(
            position[i] + sum(position[b] > position[i] for b in bound) == i for i in free
        )
        if keep and (rank is None or rank >= deep):
            return Frame(position, bound, arguments(position, bound, deep, most, keep=True))
        if dropped and (rank is None or rank >= deep - len(bound)):
            return Frame(position, bound, arguments(position, bound, deep, most, keep=False))
    return None


def layouts(group: list[Pick]) -> Iterable[dict[int, int]]:
    """Yield layouts: that of the factor with most axes first."""
    for pick in sorted(group, key=lambda p: -len(p.at)):
        position = own(pick)
        for other in group:
            for label, place in own(other).items():
                position.setdefault(label, place)
        yield position


def own(pick: Pick) -> dict[int, int]:
    """Return the axis of each label as the word has it."""
    count = len(pick.at)
    return {label: k - count for k, label in enumerate(pick.at) if label != ABSENT}


def natural(pick: Pick, position: dict[int, int]) -> bool:
    """Tell whether a word's axes are where a layout wants them."""
    return all(position[label] == place for label, place in own(pick).items())


def arguments(
    position: dict[int, int], bound: frozenset[int], deep: int, most: int, *, keep: bool
) -> str:
    """Return the arguments of a reduction."""
    dims = sorted(position[b] for b in bound)
    # counted from the left where it is sure how many axes there are
    left = deep >= most and (deep < 3 or len(dims) > 1)
    shown = [d + deep if left else d for d in dims]
    dim = str(shown[0]) if len(shown) == 1 else f"({', '.join(map(str, shown))})"
    return f"dim={dim}, keepdim=True" if keep else f"dim={dim}"


def placed(piece: Piece, pick: Pick, frame: Frame | None) -> Piece | None:
    """Return a word's text with its axes where a frame wants them; None if that cannot be."""
    labels = [i for i in pick.at if i != ABSENT]
    if len(set(labels)) < len(labels):
        return None
    where = [i if frame is None else frame.position[i] for i in labels]
    count = len(pick.at)
    if all(w == k - count for k, w in zip_present(pick.at, where)):
        return piece
    if ABSENT in pick.at:
        return None
    if where == sorted(where):
        inside = ", ".join(":" if k in where else "None" for k in range(where[0], 0))
        return Piece(f"{piece.at(ATOM)}[{inside}]", ATOM, piece.cost + 1, piece.reads)
    if sorted(where) == [-2, -1]:
        return Piece(f"{piece.at(ATOM)}.mT", ATOM, piece.cost + 1, piece.reads)
    return None


def shift(pick: Pick, frame: Frame | None) -> tuple[int, ...] | None:
    """Return the axes that must be put between a word's own, None if it stays as it is."""
    labels = [i for i in pick.at if i != ABSENT]
    if ABSENT in pick.at or len(set(labels)) < len(labels) or not labels:
        return None
    where = [i if frame is None else frame.position[i] for i in labels]
    natural_here = list(range(-len(where), 0))
    return tuple(where) if where != natural_here and where == sorted(where) else None


def zip_present(at: tuple[int, ...], where: list[int]) -> list[tuple[int, int]]:
    """Return each present axis with where it goes."""
    present = [k for k, label in enumerate(at) if label != ABSENT]
    return list(zip(present, where, strict=True))
