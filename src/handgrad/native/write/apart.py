"""Loops of a long function as functions of their own, so that a compiler does each of them well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LONGEST = 100  # lines of loops that stay one function
WORD = re.compile(r"[A-Za-z_]\w*")
FIXED = {"b0": "int b0", "hyper": "const double *restrict hyper"}
FIXED |= {"scratch": "char *restrict scratch"}


@dataclass
class Apart:
    """Functions made of loops; loops that are alike are one function.

    Attributes:
        functions: the text of each, by what tells it from the others.
    """

    functions: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def call(self, lines: list[str], kinds: Mapping[str, str], written: str) -> str:
        """Return the call of the function that some lines make.

        Args:
            lines: the loops.
            kinds: the C type of what the names of arrays point to.
            written: the array that they write.
        """
        body = "\n".join("    " + line for line in lines)
        words = dict.fromkeys(WORD.findall(body))
        arrays = [word for word in words if word in kinds]
        fixed = [word for word in FIXED if word in words]
        parameters = [
            f"{'' if name == written else 'const '}{kinds[name]} *restrict {name}"
            for name in arrays
        ]
        key = alike("\n".join([*parameters, body]), arrays)
        if key not in self.functions:
            name = f"hg_loops{len(self.functions)}"
            head = ", ".join([*parameters, *(FIXED[word] for word in fixed)])
            text = f"static __attribute__((noinline)) void {name}({head}) {{\n{body}\n}}"
            self.functions[key] = name, text
        return f"{self.functions[key][0]}({', '.join([*arrays, *fixed])});"

    def text(self) -> str:
        """Return all functions."""
        return "\n\n".join(text for _, text in self.functions.values())


def alike(text: str, arrays: list[str]) -> str:
    """Return a text in which only the order of arrays counts, not their names."""
    places = {name: f"a{place} " for place, name in enumerate(arrays)}
    return WORD.sub(lambda found: places.get(found[0], found[0]), text)
