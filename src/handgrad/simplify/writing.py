"""The lines of a simplified backward pass, each the cheapest that was found for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from handgrad.derive import BackwardLine
from handgrad.ir import Call, Expr, Line, children, names, walk
from handgrad.simplify.coefficient import ONE
from handgrad.simplify.count import count
from handgrad.simplify.effort import Spent, at_most, go_on, left
from handgrad.simplify.hoisting import hoisted
from handgrad.simplify.identities import alternatives, exchanged
from handgrad.simplify.normal import Poly, TooLarge
from handgrad.simplify.program import Lowered, Reading
from handgrad.simplify.proof import Proof
from handgrad.simplify.refold import Refold, Unwritable
from handgrad.simplify.ring import places
from handgrad.simplify.text import ATOM, Piece, taste
from handgrad.simplify.words import Vocabulary, Word
from handgrad.spell import spell

CHEAPER = 1e-6

SHARE = 3  # one line may take a third of the time that is left


@dataclass
class Writing:
    """Write the roots of a reading, in order.

    Attributes:
        unit: the upstream gradient is 1 and is left out.
        lines: the lines so far.
    """

    reading: Reading
    unit: bool
    textbook: bool = False
    lines: list[BackwardLine] = field(default_factory=list[BackwardLine])
    written: dict[str, str] = field(default_factory=dict[str, str])
    emitted: set[str] = field(default_factory=set[str])
    refused: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.proof = Proof(self.reading)

    def write(self) -> tuple[BackwardLine, ...]:
        """Return the lines."""
        for name, low in self.reading.lowered.items():
            if low.root:
                self.root(name, low)
        lines = self.alive()
        trace = self.reading.backward.trace
        taken = set(trace.values) | set(trace.program.scalars) | {f"d{n}" for n in trace.values}
        taken |= {each.name for each in self.reading.backward.lines}
        return hoisted(trace, lines, set(self.reading.lowering.upstream), taken)

    def unmade(self) -> set[str]:
        """Return the names of forward parts that have no line yet."""
        lines = self.reading.backward.lines
        known = self.emitted | self.reading.lowering.upstream
        return {each.name for each in lines if not each.primal} - known

    def refold(
        self,
        primal: str = "",
        extra: tuple[Word, ...] = (),
        *,
        parts: bool = True,
        poly: Poly | None = None,
    ) -> Refold:
        """Return a printer whose words are the names assigned so far, and forward parts.

        A cotangent that has the upstream gradient 1 left out stands for a whole term: it is a word
        only where there is one term, so that no sum mixes cotangents with numbers.
        """
        reading = self.reading
        late = {n for n in reading.lowered if n not in self.emitted}
        if self.textbook:
            late |= set(reading.lowered)
        vocabulary = Vocabulary()
        for word in (*reading.vocabulary.words, *extra):
            part = word.name not in reading.lowering.upstream and parts
            if word.name not in late or word in extra or part:
                vocabulary.add(
                    word if poly is None or poly.single is None else self.bare_word(word)
                )
        return Refold(reading.ring, vocabulary, {**reading.shown, **self.own_sizes(primal)})

    def bare_word(self, word: Word) -> Word:
        """Leave out an upstream gradient that is 1 from what a name stands for."""
        kept = tuple(f for f in word.key if f[0][0] != self.reading.start)
        bare = self.unit and kept and len(kept) < len(word.key)
        return replace(word, key=kept, once=True) if bare else word

    def own_sizes(self, primal: str) -> dict[str, str]:
        """Return a primal's sizes as its own shape, but for those that a scalar counts."""
        sizes = self.reading.sizes
        counted = {sizes.find(axis) for axis in sizes.tied.values()}
        axes = enumerate(sizes.named.get(primal, ()))
        found = {sizes.find(a): f"{primal}.shape[{k}]" for k, a in axes if a}
        return {axis: text for axis, text in found.items() if axis not in counted}

    def bare(self, poly: Poly) -> Poly:
        """Leave out an upstream gradient that is 1."""
        if not self.unit:
            return poly
        start = self.reading.start

        def drop(key: Any) -> Poly | None:
            kept = tuple(f for f in key if f[0][0] != start)
            return None if len(kept) == len(key) else Poly({kept: ONE})

        return poly.each(drop)

    def root(self, name: str, low: Lowered) -> None:
        """Write one root: the cheapest form, or the lines that were there where none is cheaper."""
        old = self.slice(name)
        before = sum(self.cost(each) for each in old)
        try:
            with at_most(left() / SHARE):
                go_on()
                best = self.best(low, before)
        except Spent:
            self.unfinished.append(name)
            best = None
        if best is None:
            for each in old:
                self.append(each)
        else:
            for line in best:
                self.append(line)
        self.emitted.add(name)

    def append(self, line: BackwardLine) -> None:
        """Add a line, once."""
        if line.name not in {each.name for each in self.lines}:
            self.lines.append(line)
            self.emitted.add(line.name)

    def slice(self, name: str) -> list[BackwardLine]:
        """Return the lines that a root is made by and that have no line yet, in order."""
        lines = {each.name: each for each in self.reading.backward.lines}
        wanted, found = [name], set[str]()
        while wanted:
            each = wanted.pop()
            if each in lines and each not in found and (each == name or each not in self.emitted):
                found.add(each)
                wanted += [n for n in names(lines[each].line.expr) if n not in self.emitted]
        return [each for each in self.reading.backward.lines if each.name in found]

    def cost(self, each: BackwardLine) -> float:
        """Return how many operations a line does."""
        text = each.line.text.partition(" = ")[2]
        return count(text, self.reading.backward.trace.program.scalars)

    def best(self, low: Lowered, before: float) -> list[BackwardLine] | None:
        """Return the lines of the cheapest form, None where the ones that were there stay."""
        rank = len(low.line.shape)
        found: list[tuple[tuple[float, int, int, int, str], list[BackwardLine]]] = []
        reading = self.reading
        words = [
            reading.lowering.names[w.name]
            for w in self.refold().vocabulary.words
            if w.name in reading.lowering.names
        ]
        bare = self.bare(low.poly)
        every = {
            p.key: p
            for one in (bare, self.opened(bare))
            for p in alternatives(reading.ring, words, reading.facts.reduce, one)
        }
        for poly in every.values():
            for lines in self.forms(low, poly, rank):
                lines = self.with_parts(lines)
                cost = sum(self.cost(each) for each in lines)
                text = "\n".join(each.line.text for each in lines)
                found.append(((cost, *taste(text)), lines))
        old = self.slice(low.line.name)
        for (cost, *_), lines in sorted(found, key=lambda f: f[0]):
            same = cost == before and len(lines) >= len(old) and not self.drops_unit(old)
            if cost > before or same:
                return None
            if self.proof.holds(lines):
                return lines
            self.refused.append(lines[-1].line.text)
        return None

    def drops_unit(self, old: list[BackwardLine]) -> bool:
        """Tell whether lines read an upstream gradient that is 1, which others need not."""
        return self.unit and any(self.reading.start in names(each.line.expr) for each in old)

    def opened(self, poly: Poly) -> Poly:
        """Open the cotangents in a sum that are products with factors that other terms have too."""
        if len(poly.terms) < 2:
            return poly
        reading = self.reading
        for name in sorted(poly.atoms & reading.lowered.keys()):
            meaning = self.bare(reading.lowered[name].poly)
            others = {
                n for key in poly.terms for (n, _), _ in key if name not in {m for (m, _), _ in key}
            }
            if meaning.single and meaning.pointwise and meaning.atoms & others:
                with suppress(TooLarge):
                    changed = exchanged(poly, name, places(reading.ring.axes[name]), meaning)
                    poly = poly if changed is None else changed
        return poly

    def with_parts(self, lines: list[BackwardLine]) -> list[BackwardLine]:
        """Return lines with those before them that make what they read and has no line yet."""
        known = {each.name: each for each in self.reading.backward.lines}
        made = {each.name for each in lines} | self.emitted
        wanted = [n for each in lines for n in names(each.line.expr)]
        found: dict[str, BackwardLine] = {}
        while wanted:
            name = wanted.pop()
            if name in known and name not in made and name not in found:
                found[name] = known[name]
                wanted += names(known[name].line.expr)
        return in_order([each for n, each in known.items() if n in found] + lines)

    def forms(self, low: Lowered, poly: Poly, rank: int) -> list[list[BackwardLine]]:
        """Return ways to write a root: alone, and with cotangents that it had on the way."""
        found = []
        refold = self.refold(low.line.primal, poly=poly)
        plain = self.line(refold, low, poly, rank)
        if plain is not None:
            found.append([plain])
            if not self.unmade().isdisjoint(names(plain.line.expr)):
                own = self.line(
                    self.refold(low.line.primal, parts=False, poly=poly), low, poly, rank
                )
                found += [] if own is None else [[own]]
        extra = self.helpers(low, poly)
        for words in [extra, *([w] for w in extra if len(extra) > 1)]:
            if not words:
                continue
            whole = self.line(
                self.refold(low.line.primal, tuple(words), poly=poly), low, poly, rank
            )
            if whole is None:
                continue
            used = [w for w in words if w.name in names(whole.line.expr)]
            made = [self.helper(refold, w) for w in used]
            if used and all(m is not None for m in made):
                found.append([*(m for m in made if m is not None), whole])
        return found

    def helpers(self, low: Lowered, poly: Poly) -> list[Word]:
        """Return the products among the lines of a root: they may keep their line if that helps."""
        reading = self.reading
        found = []
        for each in self.slice(low.line.name)[:-1]:
            other = reading.lowered[each.name]
            bare = self.bare(other.poly)
            linear = reading.ring.is_linear(other.poly)
            if linear and bare.single and bare.pointwise and bare.atoms <= poly.atoms:
                word = reading.word(each.name, bare)
                if len(word.key) > 1:
                    found.append(word)
        return found

    def helper(self, refold: Refold, word: Word) -> BackwardLine | None:
        """Return the line of a product."""
        low = self.reading.lowered[word.name]
        return self.line(refold, low, self.bare(low.poly), len(low.line.shape))

    def line(self, refold: Refold, low: Lowered, poly: Poly, rank: int) -> BackwardLine | None:
        """Return a line that assigns a normal form; None if it cannot be written in its shape."""
        expr = self.shown(refold, low, poly, rank)
        if (expr is None or weak(expr)) and any(name[0] == "[" for name in poly.atoms):
            expr = self.shown(self.typed(refold, low.line.primal), low, poly, rank)
        if expr is None or weak(expr):
            return None
        old = low.line
        line = Line((old.name,), expr, f"{old.name} = {spell(expr)}")
        return BackwardLine(line, old.primal, old.forward, old.contributions)

    def shown(self, refold: Refold, low: Lowered, poly: Poly, rank: int) -> Expr | None:
        """Return a normal form as an expression, None if it cannot be written."""
        try:
            return self.built(refold.show(poly, rank), low.line.line.expr, low.line)
        except (Unwritable, TooLarge):
            return None

    def typed(self, refold: Refold, primal: str) -> Refold:
        """Return a printer that makes floats of one-hots and conditions before all else."""
        vocabulary = Vocabulary()
        for word in refold.vocabulary.words:
            one = len(word.key) == 1 and word.key[0][0][0][0] == "["
            piece = refold.piece(word) if one else None
            if piece is not None and primal:
                text = f"{piece.at(ATOM)}.type_as({primal})"
                piece = Piece(text, ATOM, piece.cost, piece.reads)
                word = replace(word, piece=piece)
            vocabulary.add(word)
        return Refold(refold.ring, vocabulary, refold.sizes)

    def built(self, piece: Piece, like: Expr, each: BackwardLine) -> Expr | None:
        """Return a text as an expression in the shape and dtype that it must have."""
        name = each.primal or each.name
        attempts = [f"({piece.text})"]
        if each.primal:
            attempts = [*attempts, f"({piece.text}).expand_as({name})"]
        if piece.text == "0":
            attempts = [f"torch.zeros_like({name})"]
        elif not like.dtype.is_floating_point:
            return None
        elif each.primal:
            attempts.append(f"({piece.text}).type_as({name})")
        for text in attempts:
            found = self.reading.scope.parse(text)
            if found is not None and found.shape == like.shape and found.dtype == like.dtype:
                return found
        return None

    def alive(self) -> tuple[BackwardLine, ...]:
        """Return the lines that something needs."""
        trace = self.reading.backward.trace
        wanted = {"d" + name for name in trace.leaves} | {"d" + trace.output}
        kept: list[BackwardLine] = []
        for each in reversed(self.lines):
            if each.name in wanted or each.primal in trace.leaves:
                kept.append(each)
                wanted |= set(names(each.line.expr))
        return tuple(reversed(kept))


def in_order(lines: list[BackwardLine]) -> list[BackwardLine]:
    """Return lines each after those that it reads, else in the order that they have."""
    known = {each.name: each for each in lines}
    seen, found = set[str](), list[BackwardLine]()

    def put(each: BackwardLine) -> None:
        if each.name not in seen:
            seen.add(each.name)
            for name in names(each.line.expr):
                if name in known:
                    put(known[name])
            found.append(each)

    for each in lines:
        put(each)
    return found


def weak(expr: Expr) -> bool:
    """Tell whether whole numbers or conditions must become floats first.

    A float that is made of them alone has torch's default dtype; torch subtracts no condition.
    """
    return any(isinstance(node, Call) and (untyped(node) or refused(node)) for node in walk(expr))


def untyped(call: Call) -> bool:
    """Tell whether a call makes a float of whole numbers alone."""
    found = list(children(call))
    return (
        call.dtype.is_floating_point
        and not call.op.structural
        and bool(found)
        and not any(child.dtype.is_floating_point for child in found)
    )


def refused(call: Call) -> bool:
    """Tell whether a call adds, subtracts or negates conditions: torch says no, or means `or`."""
    found = [child.dtype is torch.bool for child in children(call)]
    minus = call.op.name in ("sub", "neg", "rsub") and any(found)
    return minus or (call.op.name == "add" and bool(found) and all(found))
