"""Entries as C expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from handgrad.native.lower.expr import BOOL, INT, Entry, bounds, is_float
from handgrad.native.lower.tree import parts, walk

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">"}
OPERATORS |= {"ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|", "xor": "^"}
LEVELS = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<": 7, "<=": 7, ">": 7, ">=": 7}
LEVELS |= {"==": 6, "!=": 6, "&": 5, "^": 4, "|": 3, "&&": 2, "?": 1}
ATOM, UNARY = 20, 12
LIBRARY = {"isnan": "hg_isnan", "isinf": "hg_isinf", "isfinite": "hg_isfinite"}
SUFFIX = {"float": "f", "double": "", INT: "_whole"}


@dataclass
class Writer:
    """Writes entries; what is needed several times becomes a variable.

    Attributes:
        address: the text of a read: a pointer and a place.
        hypers: where the number of a name stands.
        used: the functions that were needed, by name in C.
    """

    address: Callable[[Entry], str]
    hypers: dict[str, int]
    used: set[str] = field(default_factory=set)
    named: dict[Entry, str] = field(default_factory=dict)
    count: int = 0

    def statements(self, roots: Iterable[Entry]) -> list[str]:
        """Return declarations of what the roots need several times; then `text` uses them."""
        roots = list(roots)
        uses: dict[Entry, int] = {}
        for root in roots:
            uses[root] = uses.get(root, 0) + 1
        order: dict[Entry, None] = {}
        for root in roots:
            for node in walk(root):
                if node not in order:
                    order[node] = None
                    for part in parts(node):
                        uses[part] = uses.get(part, 0) + 1
        safe = certain(roots)
        found = []
        for node in order:
            many = uses.get(node, 0) > 1 and node not in self.named
            if not many or node.op in ("const", "var", "hyper"):
                continue
            if node.op == "lin" and all(part.op == "var" for part, _ in node.args[1]):
                continue
            if node not in safe and any(n.op == "read" for n in walk(node)):
                continue  # it may be read only where a condition holds
            text = self.text(node)
            self.count += 1
            name = f"t{self.count}"
            ctype = "int" if node.ctype == INT and small(node) else node.ctype
            found.append(f"const {ctype} {name} = {text};")
            self.named[node] = name
        return found

    def text(self, entry: Entry) -> str:
        """Return an entry as C."""
        return self.level(entry)[0]

    def level(self, entry: Entry) -> tuple[str, int]:
        """Return the text and how tightly its operator binds."""
        if entry in self.named:
            return self.named[entry], ATOM
        op, args = entry.op, entry.args
        if op == "const":
            return number(args[0], entry.ctype), ATOM if args[0] >= 0 else UNARY
        if op == "var":
            return args[0], ATOM
        if op == "hyper":
            return f"({entry.ctype})hyper[{self.hypers[args[0]]}]", UNARY
        if op == "read":
            return self.address(entry), ATOM
        if op == "lin":
            return self.sum_of_multiples(entry)
        if op in ("floordiv", "mod"):
            return self.divided(entry)
        if op == "select":
            parts_of = [self.guard(a, 3) for a in args]
            return f"{parts_of[0]} ? {parts_of[1]} : {parts_of[2]}", LEVELS["?"]
        if op in OPERATORS:
            symbol = "&&" if is_condition(entry) else OPERATORS[op]
            own = LEVELS[symbol]
            left, right = self.narrowed(entry)
            return f"{self.guard(left, own)} {symbol} {self.guard(right, own + 1)}", own
        return self.function(entry)

    def narrowed(self, entry: Entry) -> tuple[Entry, Entry]:
        """Return the operands of an operator."""
        return entry.args[0], entry.args[1]

    def guard(self, entry: Entry, level: int) -> str:
        """Return an entry's text, in brackets if it binds less tightly than its place asks."""
        text, own = self.level(entry)
        return text if own >= level else f"({text})"

    def sum_of_multiples(self, entry: Entry) -> tuple[str, int]:
        """Write a sum of multiples of whole numbers."""
        constant, pairs = entry.args
        text = ""
        for part, times in pairs:
            own = self.guard(part, 11)
            piece = own if abs(times) == 1 else f"{abs(times)} * {own}"
            text += (" - " if times < 0 else " + ") + piece
        if constant:
            text += f" {'-' if constant < 0 else '+'} {abs(constant)}"
        text = text[3:] if text.startswith(" + ") else "-" + text[3:]
        return text, 10 if len(pairs) == 1 and not constant and pairs[0][1] > 0 else 9

    def divided(self, entry: Entry) -> tuple[str, int]:
        """Write a quotient or remainder rounded down; C rounds towards zero."""
        x, by = entry.args
        symbol = "/" if entry.op == "floordiv" else "%"
        if bounds(x)[0] >= 0:
            return f"{self.guard(x, 10)} {symbol} {by}", 10
        self.used.add(f"hg_{entry.op}")
        return f"hg_{entry.op}({self.text(x)}, {by})", ATOM

    def function(self, entry: Entry) -> tuple[str, int]:
        """Write a cast or a function call."""
        op, args = entry.op, entry.args
        if op == "neg":
            return f"-{self.guard(args[0], UNARY + 1)}", UNARY
        if op == "not":
            return f"~{self.guard(args[0], UNARY)}", UNARY
        if op == "cast":
            return self.cast(entry)
        if op == "wrap":
            return f"hg_wrap({self.text(args[0])}, {args[1]})", ATOM
        suffix = SUFFIX[args[0].ctype if is_float(args[0].ctype) else INT]
        if op in ("min", "max") and is_float(entry.ctype) and args[1].op == "const":
            suffix = "n" + suffix
        name = LIBRARY.get(op, f"hg_{op}") + suffix
        self.used.add(name)
        return f"{name}({', '.join(self.text(a) for a in args)})", ATOM

    def cast(self, entry: Entry) -> tuple[str, int]:
        """Write a cast."""
        inner = entry.args[0]
        if entry.ctype == BOOL:
            return f"{self.guard(inner, 7)} != 0", LEVELS["!="]
        ctype = "int" if entry.ctype == INT and inner.ctype == BOOL else entry.ctype
        return f"({ctype}){self.guard(inner, UNARY + 1)}", UNARY


def small(entry: Entry) -> bool:
    """Tell whether a whole number fits into 32 bits."""
    low, high = bounds(entry)
    return low >= -(2**31) and high < 2**31


def is_condition(entry: Entry) -> bool:
    """Tell whether an entry is `a and b` where b may read only what is there if a holds."""
    own = entry.op == "and" and entry.ctype == BOOL
    return own and any(node.op == "read" for node in walk(entry.args[1]))


def certain(roots: Iterable[Entry]) -> set[Entry]:
    """Return the nodes that are evaluated whatever the conditions are."""
    found: set[Entry] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found.add(node)
        first = node.op == "select" or is_condition(node)
        stack.extend([node.args[0]] if first else parts(node))
    return found


def number(value: float, ctype: str) -> str:
    """Return a number as C."""
    if ctype == BOOL:
        return "true" if value else "false"
    if not is_float(ctype):
        return f"{value}LL" if abs(value) >= 2**31 else str(value)
    if math.isinf(value):
        return "-INFINITY" if value < 0 else "INFINITY"
    if math.isnan(value):
        return "NAN"
    return repr(float(value)) + ("f" if ctype == "float" else "")
