"""What is known of a code object, found once: its source, its syntax nodes, what it stores where.

Everything is kept by identity: to hash a code object, or the text of its file, takes as long as
it has lines, and both would be hashed for each torch call.
"""

from __future__ import annotations

import ast
import dis
from bisect import bisect_left, bisect_right
from functools import cached_property
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

from executing import Source

KINDS = {"CALL": ast.Call, "BINARY_OP": ast.BinOp}


class Code:
    """A code object; `executing` and `dis` read it as if it were the code object itself."""

    def __init__(self, frame: FrameType) -> None:
        self.__code__: CodeType = frame.f_code
        self.source = Source.for_frame(frame)
        self.nodes: dict[int, ast.AST | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__code__, name)

    def node(self, frame: FrameType) -> ast.AST | None:
        """Return the syntax node that a frame is running, None if it is not known."""
        at = frame.f_lasti
        if at not in self.nodes:
            self.nodes[at] = self.spanned(at) or self.found(at, frame)
        return self.nodes[at]

    def spanned(self, at: int) -> ast.AST | None:
        """Return the one call or operator that has just an instruction's place in the text."""
        kind = KINDS.get(dis.opname[self.bytes[at]])
        place = self.places[at // 2]
        if kind is None or self.source.tree is None or place[0] is None:
            return None
        nodes = [
            node
            for statement in self.source.statements_at_line(place[0])
            for node in ast.walk(statement)
            if isinstance(node, ast.expr) and isinstance(node, kind) and span_of(node) == place
        ]
        return nodes[0] if len(nodes) == 1 else None

    def found(self, at: int, frame: FrameType) -> ast.AST | None:
        """Return the node that `executing` finds for an instruction."""
        seen: Any = SimpleNamespace(
            f_code=self, f_lasti=at, f_lineno=frame.f_lineno, f_globals=frame.f_globals
        )
        return Known.executing(seen).node

    @cached_property
    def bytes(self) -> bytes:
        """Return the instructions."""
        return self.__code__.co_code

    @cached_property
    def places(self) -> list[tuple[int | None, int | None, int | None, int | None]]:
        """Return each instruction's first line, last line, first column and last column."""
        return list(self.__code__.co_positions())

    @cached_property
    def instructions(self) -> list[dis.Instruction]:
        """Return the instructions that store names or jump."""
        every = dis.get_instructions(self.__code__)
        return [each for each in every if "STORE_" in each.opname or "JUMP" in each.opname]

    @cached_property
    def stores(self) -> tuple[list[int], list[str]]:
        """Return where names are stored, in order, and which."""
        found = [
            (each.offset, name)
            for each in self.instructions
            if "STORE_" in each.opname
            for name in (each.argval if isinstance(each.argval, tuple) else (each.argval,))
            if isinstance(name, str)
        ]
        return [at for at, _ in found], [name for _, name in found]

    @cached_property
    def loops(self) -> list[tuple[int, int]]:
        """Return the stretches that may run more than once, in order and apart."""
        jumps = sorted(
            (each.argval, each.offset)
            for each in self.instructions
            if "JUMP" in each.opname and isinstance(each.argval, int) and each.argval < each.offset
        )
        found: list[tuple[int, int]] = []
        for first, last in jumps:
            if found and first <= found[-1][1]:
                found[-1] = found[-1][0], max(last, found[-1][1])
            else:
                found.append((first, last))
        return found

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Return the names that functions inside, or around, may store too."""
        return self.__code__.co_cellvars + self.__code__.co_freevars

    @cached_property
    def stores_outside(self) -> bool:
        """Tell whether it stores names that belong to others."""
        inner = self.__code__.co_name != "<module>"
        return inner and any(each.opname == "STORE_GLOBAL" for each in self.instructions)

    def stored(self, last: int, now: int) -> list[str] | None:
        """Return the names that may have been stored between two instructions, None for any."""
        if now < last or self.in_loop(last) or self.in_loop(now):
            return None
        places, names = self.stores
        return [*names[bisect_left(places, last) : bisect_right(places, now)], *self.shared]

    def in_loop(self, at: int) -> bool:
        """Tell whether an instruction may run more than once."""
        place = bisect_right(self.loops, (at, len(self.__code__.co_code)))
        return place > 0 and at <= self.loops[place - 1][1]


def span_of(node: ast.expr) -> tuple[int | None, int | None, int | None, int | None]:
    """Return a node's first line, last line, first column and last column."""
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


class Known(Source):
    """Sources of frames whose code is known."""

    @classmethod
    def for_frame(cls, frame: Any, use_cache: bool = True) -> Source:
        """Return the source of a frame's code."""
        return frame.f_code.source


CODES: dict[int, Code] = {}  # each keeps its code object alive, so that no id is used again


def code_of(frame: FrameType) -> Code:
    """Return what is known of a frame's code."""
    found = CODES.get(id(frame.f_code))
    if found is None:
        found = CODES[id(frame.f_code)] = Code(frame)
    return found
