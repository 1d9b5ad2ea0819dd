"""Why one text of a derivation follows from another, in words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping

from handgrad.simplify.coefficient import ONE
from handgrad.simplify.normal import Poly
from handgrad.simplify.program import Reading, one_line, words_in

ONE_HOT = re.compile(r"F\.one_hot\((\w+|[^()]*\([^()]*\)[^()]*?), num_classes=[^()]*?\)")

LIKE = frozenset(["expand_as", "type_as", "reshape_as"])


class Because:
    """Words for the steps of one program.

    Attributes:
        parts: the short lines whose names are new.
        products: the forward lines whose names stand for a product or a power of other names.
    """

    def __init__(self, reading: Reading, parts: Mapping[str, str]) -> None:
        names = reading.lowering.names
        self.parts = parts
        self.products = {
            line.target: one_line(line.text)
            for line in reading.backward.trace.lines
            if len(line.targets) == 1 and is_product(line.target, names.get(line.target))
        }

    def algebra(self, before: str, after: str, said: bool = False) -> list[str]:
        """Return why a text is another without any fact: names for products, and arithmetic.

        Args:
            before: the one text.
            after: the other.
            said: there is another reason too.
        """
        told = [*self.named(before, after), *self.cited(before, after)]
        label = ONE_HOT.search(after)
        if label and "one_hot" not in before:
            told.insert(0, f"one entry for each label is a product with the one-hot of {label[1]}")
        if re.search(r"\* 0\b(?!\.)", before):
            told = ["a product with 0 is 0"]
        if ".expand_as(" in before and ".expand_as(" not in after:
            told.append("it stretches where it is read")
        return told or ([] if said else ["multiply out and collect"])

    def fact(self, fact: str, before: str, after: str) -> str:
        """Return a fact, with the products that hide what it is about."""
        read, about = reads(before), words_in_words(fact)
        hidden = {
            text
            for name, text in self.products.items()
            if (name in read - about and (about - read) & reads(side(text)))
            or (name in about - read - reads(after))
        }
        return "; ".join([fact, *self.in_order(hidden)])

    def shorter(self, before: str, after: str) -> str:
        """Return why the last text, the shortest, is the one before it."""
        told = [*self.named(before, after), *self.cited(before, after)]
        return "; ".join(told) or "the same with fewer operations"

    def named(self, before: str, after: str) -> list[str]:
        """Return the lines of the new names in a text."""
        fresh = words_in(after) - words_in(before)
        return [f"{text} is needed more than once" for n, text in self.parts.items() if n in fresh]

    def cited(self, before: str, after: str) -> list[str]:
        """Return the lines of the products that one text has and the other has not."""
        wanted = sorted(reads(before) ^ reads(after))
        both = reads(before) & reads(after)
        found: dict[str, None] = {}
        while wanted:
            name = wanted.pop(0)
            if name in self.products and self.products[name] not in found:
                found[self.products[name]] = None
                wanted += sorted(reads(side(self.products[name])) - both)
        return self.in_order(found)

    def in_order(self, lines: Iterable[str]) -> list[str]:
        """Return forward lines as the program has them."""
        found = set(lines)
        return [text for text in self.products.values() if text in found]

    def short(self, text: str) -> str:
        """Return a text as it is said: `the one-hot of Yb`."""
        whole = ONE_HOT.fullmatch(text)
        return f"the one-hot of {whole[1]}" if whole else text


def is_product(name: str, poly: Poly | None) -> bool:
    """Tell whether a name stands for a product or a power, not for itself."""
    only = None if poly is None else poly.single
    if only is None or not poly or not poly.pointwise or name in poly.atoms:
        return False
    key, c = only
    return len(key) > 1 or c != ONE or (bool(key) and key[0][1] != 1)


def reads(text: str) -> set[str]:
    """Return the names that a text reads for their values, not for their shapes."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        match node:
            case ast.Attribute(attr="shape"):
                return
            case ast.Call(func=ast.Attribute(value=inner, attr=attr)) if attr in LIKE:
                visit(inner)
                return
            case ast.Name(id=name):
                found.add(name)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(text))
    return found


def side(text: str) -> str:
    """Return the right-hand side of a line."""
    return text.partition(" = ")[2]


def words_in_words(text: str) -> set[str]:
    """Return whatever looks like a name in a sentence."""
    return set(re.findall(r"[A-Za-z_]\w*", text))
