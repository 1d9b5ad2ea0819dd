"""Which axis a size name such as `n` stands for, from the lines that say so."""

from __future__ import annotations

from collections.abc import Mapping

from handgrad.ir import Call, Name, Program, Static, walk


def sizes_by_name(program: Program, names: Mapping[str, Name]) -> dict[str, Name]:
    """Return the names with their axes' sizes written as the program itself writes them.

    `x[range(n), y]` says that axis 0 of x has n entries; nothing is concluded from equal numbers.
    """
    sizes: dict[str, list[str]] = {}
    for line in program.lines:
        for node in walk(line.expr):
            if not isinstance(node, Call) or "index" not in node.args:
                continue
            operand, index = next(iter(node.args.values())), node.args["index"]
            parts = index if isinstance(index, tuple) else (index,)
            if not isinstance(operand, Name):
                continue
            for axis, part in enumerate(parts):
                text = ranged(part)
                if text in program.scalars and operand.shape[axis] == program.scalars[text]:
                    known = sizes.setdefault(operand.name, [""] * operand.ndim)
                    known[axis] = text
    return {
        n: Name(n, name.shape, name.dtype, tuple(sizes.get(n, ()))) for n, name in names.items()
    }


def ranged(part: object) -> str:
    """Return `n` for `range(n)`, empty for anything else."""
    if isinstance(part, Static) and isinstance(part.value, range):
        return part.text.removeprefix("range(").removesuffix(")")
    return ""
