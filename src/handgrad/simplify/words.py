"""The names that expressions are written in, and the cheapest way to write a product in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from handgrad.simplify.coefficient import ONE, Coefficient, ratio
from handgrad.simplify.normal import ABSENT, Key, Place, Power
from handgrad.simplify.text import Piece

MOST_TRIES = 4000


@dataclass(frozen=True)
class Word:
    """A name, and the monomial that it stands for at its own labels.

    Attributes:
        labels: the label of each of its axes, ABSENT for those of size 1.
        by: the coefficient of the monomial.
        piece: its text and cost; for an atom without a name made when it is needed.
        once: it may stand in a product once, and never below the line: a cotangent, linear.
    """

    name: str
    key: Key
    labels: tuple[int, ...]
    by: Coefficient = ONE
    piece: Piece | None = None
    once: bool = False


@dataclass(frozen=True)
class Pick:
    """A word in a product: where its axes go, and its power."""

    word: Word
    at: tuple[int, ...]
    power: Power


@dataclass
class Vocabulary:
    """The words, found by the atoms in them."""

    words: list[Word] = field(default_factory=list[Word])
    by_atom: dict[str, list[Word]] = field(default_factory=dict[str, list[Word]])
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    memo: dict[Key, list[Pick] | None] = field(default_factory=dict[Key, "list[Pick] | None"])

    def rank(self, piece: Piece) -> int:
        """Return how many axes a text has at most: those of the names that it reads."""
        return max((self.ranks.get(name, 0) for name in piece.reads), default=0)

    def add(self, word: Word) -> None:
        """Add a word."""
        self.words.append(word)
        self.ranks[word.name] = len(word.labels)
        for name in {n for (n, _), _ in word.key}:
            self.by_atom.setdefault(name, []).append(word)
        self.memo.clear()

    def cover(self, key: Key, cost: Callable[[Word], float]) -> list[Pick] | None:
        """Return the cheapest product of words that is a monomial, None if there is none."""
        bare = tuple(f for f in key if f[0][0][0] != "#")
        if bare not in self.memo:
            self.memo[bare] = Cover(self, cost).find(bare)
        return self.memo[bare]


class Cover:
    """The search for a product of words: always the first factor that is left, cheapest first."""

    def __init__(self, vocabulary: Vocabulary, cost: Callable[[Word], float]) -> None:
        self.vocabulary, self.cost = vocabulary, cost
        self.best: tuple[float, list[Pick] | None] = (1e9, None)
        self.tries = 0

    def find(self, key: Key) -> list[Pick] | None:
        """Return the cheapest product."""
        self.go(dict(key), [], 0.0)
        return self.best[1]

    def go(self, left: dict[Place, Power], picked: list[Pick], cost: float) -> None:
        """Try every word that has the first factor that is left."""
        self.tries += 1
        if cost >= self.best[0] - 1e-9 or self.tries > MOST_TRIES:
            return
        if not left:
            self.best = (cost, picked)
            return
        first = max(left, key=lambda p: (abs(left[p]), len(self.vocabulary.by_atom.get(p[0], ()))))
        cotangent = any(pick.word.once for pick in picked)
        for word in self.vocabulary.by_atom.get(first[0], ()):
            if word.once and cotangent:
                continue
            for places, at in placements(word, first, left):
                power = self.power(word, places, left)
                if power == 0:
                    continue
                rest = dict(left)
                for (_, p), place in zip(word.key, places, strict=True):
                    rest[place] -= p * power
                    if not rest[place]:
                        del rest[place]
                step = self.cost(word) + (abs(power) if abs(power) in (1, 2) else 2)
                step += 0.02 if power < 0 else 0
                step += 0.3 if abs(power).denominator > 1 or abs(power) > 2 else 0
                if not picked:
                    step -= 0.5
                self.go(rest, [*picked, Pick(word, at, power)], cost + step)

    def power(self, word: Word, places: tuple[Place, ...], left: dict[Place, Power]) -> Power:
        """Return how often a word goes into what is left, 0 if it does not."""
        lowest: Power | None = None
        for (_, p), place in zip(word.key, places, strict=True):
            if place not in left or left[place] == 0:
                return 0
            times = ratio(left[place], p)
            if lowest is None:
                lowest = times
            elif (times > 0) != (lowest > 0):
                return 0
            elif abs(times) < abs(lowest):
                lowest = times
        assert lowest is not None
        if len(word.key) == 1 and word.key[0][1] == 1 and not word.once:
            return lowest
        if word.once:
            return int(lowest >= 1)
        whole = int(abs(lowest))
        return whole if lowest > 0 else -whole


def placements(
    word: Word, first: Place, left: dict[Place, Power]
) -> Iterator[tuple[tuple[Place, ...], tuple[int, ...]]]:
    """Yield the ways to read a word so that its factors are among those left, one the first."""
    slots = [[place for place in left if place[0] == name] for (name, _), _ in word.key]
    for places in itertools.product(*slots):
        if first not in places or len(set(places)) < len(places):
            continue
        to: dict[int, int] = {ABSENT: ABSENT}
        if all(
            to.setdefault(i, j) == j
            for ((_, at), _), (_, there) in zip(word.key, places, strict=True)
            for i, j in zip(at, there, strict=True)
        ):
            at = tuple(to.get(i, ABSENT) for i in word.labels)
            yield places, at
