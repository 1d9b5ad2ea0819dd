"""A whole backward pass, line by line: what to keep, what to put together, how to write it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from handgrad.derive import Backward, BackwardLine
from handgrad.ir import Call, Expr, Item, Line, Static, names, walk
from handgrad.simplify.coefficient import ONE
from handgrad.simplify.effort import go_on
from handgrad.simplify.facts import Facts
from handgrad.simplify.identities import as_product
from handgrad.simplify.lower import WHOLE_DTYPES, Lowering
from handgrad.simplify.normal import Poly, TooLarge
from handgrad.simplify.numbers import Numbers
from handgrad.simplify.ring import Ring, places, spread
from handgrad.simplify.scope import Scope
from handgrad.simplify.sizes import Axes, Sizes
from handgrad.simplify.text import ATOM, Piece
from handgrad.simplify.words import Vocabulary, Word
from handgrad.spell import spell, text_precedence


@dataclass(frozen=True)
class Lowered:
    """A backward line in normal form.

    Attributes:
        poly: what it is, in terms of forward names and of the cotangents that keep their line.
        facts: what was used to get there.
        root: it keeps a line of its own.
    """

    line: BackwardLine
    poly: Poly
    facts: tuple[str, ...]
    root: bool


@dataclass
class Reading:
    """A backward pass and its forward pass in normal form.

    Attributes:
        backward: what is read.
        without: facts not to be used.
        share: a sum that an earlier line computes is read from there.
        fixed: the cotangents that keep their name; by default those that a short form needs.
        listen: called with each backward line before it is read.
    """

    backward: Backward
    without: frozenset[str] = frozenset()
    share: bool = True
    fixed: frozenset[str] | None = None
    listen: Callable[[Reading, BackwardLine], object] = lambda reading, each: None

    def __post_init__(self) -> None:
        trace = self.backward.trace
        self.start = self.backward.start
        self.sizes = Sizes(trace, [(b.name, b.line.expr) for b in self.backward.lines])
        self.shown = size_texts(self.sizes, [n.name for n in trace.program.inputs])
        self.scope = Scope(trace, self.start, self.backward.lines)
        self.clear()

    def clear(self) -> None:
        """Forget what was read."""
        self.ring = Ring()
        self.facts = Facts(self.ring, self.without)
        self.vocabulary = Vocabulary()
        self.ring.open_exponents = self.fixed is not None
        self.ring.notice = self.notice
        self.ring.disguise = lambda poly: as_product(self.ring, poly)
        facts = self.facts
        numbers = Numbers(self.sizes, self.backward.trace.program.scalars, self.axes_of)
        self.lowering = Lowering(
            self.sizes, self.ring, numbers, facts.reduce, facts.hidden, self.say
        )
        self.lowered: dict[str, Lowered] = {}

    def say(self, text: str) -> None:
        """Note that a fact was used."""
        self.facts.texts[text] = self.facts.used[text] = None

    def axes_of(self, node: ast.expr) -> Axes | None:
        """Return the size symbols of an expression's axes, None if it is no tensor."""
        expr = self.scope.parse(ast.unparse(node))
        return None if expr is None else self.sizes.axes(expr)

    def read(self) -> None:
        """Lower every line, first the forward ones."""
        roots = self.roots()
        never: set[str] = set()
        while True:
            self.forward()
            self.ring.ahead = False
            self.cotangent(self.start)
            for each in self.backward.lines:
                self.backward_line(each, each.name in roots)
            missing = self.read_as_written() - roots
            idle = (roots & self.numbers()) - never - self.read_as_written()
            if not missing and not idle:
                return
            never |= idle
            roots = (roots | missing) - idle
            self.clear()

    def numbers(self) -> set[str]:
        """Return the inner cotangents that are a number times the upstream gradient."""
        leaves = self.backward.trace.leaves
        return {
            name
            for name, low in self.lowered.items()
            if len(low.poly.terms) < 2
            and low.poly.pointwise
            and low.poly.atoms <= {self.start}
            and low.line.primal not in leaves
        }

    def read_as_written(self) -> set[str]:
        """Return the backward names that are read in what is left as it was written."""
        found: set[str] = set()
        for low in self.lowered.values():
            for name in low.poly.atoms & self.ring.texts.keys():
                found |= words_in(self.ring.texts[name])
        return found & {n for n, low in self.lowered.items() if low.line.primal}

    def backward_line(self, each: BackwardLine, root: bool) -> None:
        """Lower one line; what keeps a line of its own is an atom from there on."""
        go_on()
        self.listen(self, each)
        self.facts.used.clear()
        poly = self.lowering.lower(each.line.expr)
        used = tuple(self.facts.used)
        part = not self.ring.is_linear(poly) and not self.reads_upstream(each)
        if part and not each.primal:  # a gradient of zero reads none either
            self.define(each.line)
            self.lowered[each.name] = Lowered(each, poly, used, root=False)
            return
        self.lowering.upstream.add(each.name)
        self.lowered[each.name] = Lowered(each, poly, used, root)
        if root:
            self.cotangent(each.name)
            if poly.single and poly.pointwise and not opaque(poly) and len(poly.single[0]) > 1:
                self.vocabulary.add(self.word(each.name, poly))
            if self.share:
                self.facts.learn(each.name, poly, one_line(each.line.text))
        else:
            self.lowering.names[each.name] = poly

    def reads_upstream(self, each: BackwardLine) -> bool:
        """Tell whether a line reads a cotangent."""
        return not self.lowering.upstream.isdisjoint(names(each.line.expr))

    def forward(self) -> None:
        """Lower the forward lines and learn from them."""
        trace = self.backward.trace
        for name in trace.program.inputs:
            if name.dtype not in WHOLE_DTYPES:
                self.lowering.names[name.name] = self.as_atom(name.name)
        for line in trace.lines:
            # only what reaches the output must be finite, and so divides by nothing that is 0
            self.ring.ahead = not trace.grads.keys().isdisjoint(line.targets)
            self.define(line)

    def define(self, line: Line) -> None:
        """Learn what a name is: a product is put in its place, a sum becomes an atom."""
        go_on()
        expr = line.expr
        name = line.target
        if len(line.targets) > 1 or isinstance(expr, Item) or expr.dtype in WHOLE_DTYPES:
            self.define_outputs(line)
            return
        poly = as_product(self.ring, self.lowering.lower(expr))
        poly = self.ring.known(poly)
        only = poly.single
        if only is not None and poly.pointwise and not opaque(poly):
            self.lowering.names[name] = poly
            self.vocabulary.add(self.word(name, poly))
            if len(only[0]) == 1 and only[0][0][1] == 1 and only[1] == ONE:
                self.ring.called.setdefault(only[0][0][0][0], name)
            return
        if not poly.terms:
            self.lowering.names[name] = poly
            return
        self.lowering.names[name] = self.as_atom(name)
        self.hide(name, expr)
        if not opaque(poly):
            self.ring.define(name, poly)
            self.facts.learn(name, poly, one_line(line.text))

    def define_outputs(self, line: Line) -> None:
        """Make atoms of what is not in normal form; conditions and one-hots are what they are."""
        expr = line.expr
        if len(line.targets) == 1 and expr.dtype in WHOLE_DTYPES:
            poly = self.lowering.lower(expr)
            only = poly.single
            if only is not None and all(n[0] == "[" for n in poly.atoms):
                self.lowering.names[line.target] = poly
                self.vocabulary.add(self.word(line.target, poly))
            return
        if self.define_moments(line):
            return
        for target in line.targets:
            if self.backward.trace.values[target].dtype not in WHOLE_DTYPES:
                self.lowering.names[target] = self.as_atom(target)

    def define_moments(self, line: Line) -> bool:
        """Define a variance and a mean that one op makes together; False for any other op."""
        call = line.expr.call if isinstance(line.expr, Item) else line.expr
        if not isinstance(call, Call) or not call.op.name.startswith("var_mean"):
            return False
        if len(line.targets) != 2:
            return False
        given = {n: a for n, a in call.args.items() if n != "x" and isinstance(a, Static)}
        x = spell(call.args["x"])
        for target, how in zip(line.targets, ("var", "mean"), strict=True):
            kept = {n: a for n, a in given.items() if how == "var" or n in ("dim", "keepdim")}
            words = ", ".join(f"{n}={a.text}" for n, a in kept.items())
            expr = self.scope.parse(f"{x}.{how}({words})")
            if expr is None:
                return False
            self.define(Line((target,), expr, f"{target} = {spell(expr)}"))
        return True

    def as_atom(self, name: str) -> Poly:
        """Make a name an atom and a word."""
        found = self.ring.named(name, self.axes(name))
        self.vocabulary.add(self.word(name, found))
        return found

    def hide(self, name: str, expr: Expr) -> None:
        """Remember a value that is minus infinity where a condition holds: its exponential is 0."""
        found = self.lowering.masked(expr)
        if found is not None:
            self.ring.hidden[name] = found

    def axes(self, name: str) -> tuple[str, ...]:
        """Return the size symbols of a name's axes."""
        trace = self.backward.trace
        primal = name[1:] if name not in self.sizes.named and name[:1] == "d" else name
        if primal not in self.sizes.named:
            self.sizes.named[primal] = self.sizes.fresh(primal, tuple(trace.values[primal].shape))
        return tuple(a and self.sizes.find(a) for a in self.sizes.named[primal])

    def cotangent(self, name: str) -> None:
        """Make a backward name an atom that products are multiplied out with."""
        self.lowering.names[name] = self.as_atom(name)
        self.ring.linear.add(name)
        self.lowering.upstream.add(name)

    def word(self, name: str, poly: Poly) -> Word:
        """Return the word for a name."""
        ((key, c),) = poly.terms.items()
        return Word(name, key, places(self.axes(name)), c, Piece(name, ATOM, 0, frozenset({name})))

    def notice(self, name: str) -> None:
        """Learn what follows from a new atom, and make it a word."""
        ring = self.ring
        home = ring.home(name)
        key = (((name, home), 1),)
        labels = home
        piece = None
        if name in ring.texts:
            if name.startswith("[one_hot "):
                self.facts.learn_one_hot(name)
            else:
                piece = self.spelled(name)
        elif ring.made[name].how == "sum":
            self.facts.learn(name, ring.made[name].of, "the forward pass has this sum itself")
        if name in ring.made:
            labels = spread(home)
        self.vocabulary.add(Word(name, key, labels, piece=piece))

    def spelled(self, name: str) -> Piece:
        """Return the text of an atom that is left as it was written."""
        text = self.ring.texts[name]
        reads = frozenset(words_in(text))
        return Piece(text, text_precedence(text), operations(text), reads)

    def roots(self) -> set[str]:
        """Return the backward names that keep a line of their own.

        Those that are asked for, those that a border reads, and those that several of them need.
        """
        lines = self.backward.lines
        if self.fixed is not None:
            return set(self.fixed)
        kept = {each.name for each in lines if each.primal in self.backward.trace.leaves}
        kept |= {"d" + self.backward.trace.output} & {each.name for each in lines}
        own = {each.name for each in lines}
        for each in lines:
            kept |= self.lowering.border_reads(each.line.expr) & own
            if self.lowering.is_border(each.line.expr):
                kept.add(each.name)
        owners: dict[str, set[str]] = {}
        for each in reversed(lines):
            name = each.name
            if name not in kept and len(owners.get(name, ())) > 1 and each.primal:
                kept.add(name)
            owned = {name} if name in kept else owners.get(name, set())
            for read in names(each.line.expr):
                if read in own:
                    owners.setdefault(read, set()).update(owned)
        return kept


def opaque(poly: Poly) -> bool:
    """Tell whether a sum is a single atom that is left as it was written."""
    only = poly.single
    return only is not None and len(only[0]) == 1 and only[0][0][0][0].startswith("`")


def one_line(text: str) -> str:
    """Return a line's text without its breaks."""
    return " ".join(part.strip() for part in text.splitlines())


def size_texts(sizes: Sizes, first: Iterable[str]) -> dict[str, str]:
    """Return how each size is written: by a scalar that counts it, or as the shape of an input."""
    found: dict[str, str] = {}
    for scalar, axis in sizes.tied.items():
        found.setdefault(sizes.find(axis), scalar)
    for name in [*first, *sizes.named]:
        for k, axis in enumerate(sizes.named.get(name, ())):
            if axis:
                found.setdefault(sizes.find(axis), f"{name}.shape[{k}]")
    return found


def words_in(text: str) -> set[str]:
    """Return the names in a text."""
    from handgrad.derive.backward import names_in_text

    return set(names_in_text(text))


def operations(text: str) -> int:
    """Return how many tensor operations a text does."""
    from handgrad.simplify.count import count

    return count(text)


__all__ = ["Expr", "Mapping", "Reading", "TooLarge", "walk"]
