r"""Write the characters that a terminal or a page would act on as Python writes them: `\x1b`."""

from __future__ import annotations

import ast
from collections.abc import Callable


class Escapes(dict[int, str]):
    """What each character is written as, found the first time that it is met.

    Args:
        write: writes a character that is not printable: as `repr()` has it those are C0, DEL and
            C1, what turns the direction of text or has no width, and lone surrogates.
    """

    def __init__(self, write: Callable[[str], str]) -> None:
        super().__init__({ord(kept): kept for kept in "\n\t"})
        self.write = write

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = char if char.isprintable() else self.write(char)
        return self[code]


def in_json(char: str) -> str:
    """Return a character as JSON has it: UTF-16 in hex."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


AS_PYTHON = Escapes(lambda char: repr(char)[1:-1])
AS_JSON = Escapes(in_json)


def escaped(text: str) -> str:
    """Return a text with what is not printable escaped; line breaks and tabs stay."""
    return text.translate(AS_PYTHON)


def escaped_name(name: str) -> str:
    """Return the name of a file, or of a place in one, on one line."""
    return escaped(name).replace("\n", "\\n").replace("\t", "\\t")


def escaped_json(text: str) -> str:
    """Return JSON text with what is not printable escaped as JSON has it."""
    return text.translate(AS_JSON)


def escaped_source(text: str) -> str | None:
    """Return Python text escaped in its comments and strings, None where it would mean another."""
    found = escaped(text)
    same = found == text or ast.dump(ast.parse(found)) == ast.dump(ast.parse(text))
    return found if same else None
