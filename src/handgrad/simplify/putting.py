"""Put what is known of names in their place in a text."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping


def put_in(text: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return a text with names exchanged for what they are, and which; empty if there is none."""
    putting = Putting(known)
    tree = putting.visit(ast.parse(text, mode="eval"))
    if not putting.found:
        return "", ""
    plain = [name for name in putting.found if known[name] not in ("0", "1")]
    told = [f"put in {listed(plain)}"] if plain else []
    told += [f"{name} is {known[name]}" for name in putting.found if name not in plain]
    written = ast.unparse(ast.fix_missing_locations(tree))
    written = re.sub(r"(\d)e-0(\d)", r"\1e-\2", written).replace(" ** ", "**")
    return re.sub(r"\*\*\((-[\d.]+)\)", r"**\1", written), "; ".join(told)


def listed(names: list[str]) -> str:
    """Return names as one lists them: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def pointwise(text: str) -> bool:
    """Tell whether a text is of names and operators alone: anything in it may stretch."""
    other = ast.Call | ast.Subscript | ast.MatMult
    return not any(isinstance(node, other) for node in ast.walk(ast.parse(text)))


class Putting(ast.NodeTransformer):
    """Exchange names for expressions, and note which."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = known
        self.found: dict[str, None] = {}

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Leave `x.shape` alone: what is put in may have been stretched to it."""
        return node if node.attr == "shape" else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Exchange a name."""
        if node.id not in self.known:
            return node
        self.found[node.id] = None
        return ast.parse(self.known[node.id], mode="eval").body
