"""Backward passes as the PyTorch text that an expert writes by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from handgrad.derive import Backward, BackwardLine
from handgrad.derive.backward import names_in_text
from handgrad.emit.guards import Guard
from handgrad.emit.proof import Proof, prove
from handgrad.errors import BadInput
from handgrad.ir import Call, Expr, Line, walk
from handgrad.spell import spell
from handgrad.trace import Trace

WIDTH = 100
COMPARED = (
    "Written by handgrad; every gradient was compared with autograd's, at the traced sizes alone."
)
PROVED = "Written by handgrad; every gradient was compared with autograd's, at two sets of sizes."


def listing(backward: Backward) -> str:
    """Return the lines as in a notebook: each forward line above its group, shapes at the end."""
    blocks: list[str] = []
    group = -1
    for each in backward.lines:
        if each.forward != group:
            group = each.forward
            blocks.append(f"\n# {one_line(backward.trace.lines[group].text)}")
        blocks.append(written(each))
    return "\n".join(blocks).lstrip("\n") + "\n"


def written(each: BackwardLine) -> str:
    """Return one line with its shape, broken at its plus signs if it is long."""
    comment = f"  # {list(each.shape)}{marked(each.line.expr)}"
    text = each.line.text
    if len(text) <= WIDTH:
        return text + comment
    terms = list(summands(each.line.expr))
    if len(terms) == 1:
        return text + comment
    body = "\n    + ".join(spell(term) for term in terms)
    return f"{each.name} = (\n    {body}\n){comment}"


def marked(expr: Expr) -> str:
    """Return what marks a line that leaves an op to autograd; empty for any other."""
    ops = dict.fromkeys(n.op.name for n in walk(expr) if isinstance(n, Call) and n.op.foreign)
    asked = [name for name in ops if name.startswith("autograd of ")]
    return f", no rule: {', '.join(asked)}" if asked else ""


def summands(expr: Expr) -> Iterator[Expr]:
    """Yield the terms of a sum, left to right."""
    first = expr.op.spellings[0] if isinstance(expr, Call) else None
    if isinstance(expr, Call) and first is not None and first.target == "+":
        left, right = expr.args.values()
        if isinstance(left, Expr) and isinstance(right, Expr):
            yield from summands(left)
            yield right
            return
    yield expr


def module(backward: Backward, title: str = "") -> str:
    """Return a whole file that needs only torch: forward pass, residuals, backward pass.

    Raises:
        BadInput: a line calls a function or class that only the user's own file has.
    """
    refuse_externals(backward)
    backward = backward.drawing()
    bare = "\n\n\n".join([imports(backward), forward_text(backward), backward_text(backward)])
    proof = prove(backward, bare)
    head = docstring(backward, title, proof) + "\n\n" + imports(backward)
    return "\n\n\n".join([head, forward_text(backward, proof), backward_text(backward)]) + "\n"


def refuse_externals(backward: Backward) -> None:
    """Refuse to write a file that would need another one.

    Raises:
        BadInput: a line calls a function or class that only the user's own file has.
    """
    for line in (*backward.trace.lines, *(each.line for each in backward.lines)):
        theirs = [n for n in names_in_text(line.text) if n in backward.trace.program.externals]
        if theirs:
            raise BadInput(
                f"a written file needs torch alone, and a line calls your own {theirs[0]}",
                where=str(line.span or ""),
                why=line.text,
                hint="print the lines without --output, or write that part in plain torch",
            )


def docstring(backward: Backward, title: str, proof: Proof) -> str:
    """Return the file's first lines."""
    marked = "".join(
        f"\n{name} has no rule: torch.autograd.functional.vjp leaves its line to autograd."
        for name in dict.fromkeys(name for name, _ in backward.opaque)
    )
    first = f"Forward and backward pass{' of ' + title if title else ''}, line by line."
    said = PROVED if proof.proved else COMPARED
    said += f"\nIts lines are for {', '.join(proof.fixed)}." if proof.fixed else ""
    if backward.trace.updates:
        said += f"\nIt leaves as they are: {', '.join(backward.trace.updates)}."
    frozen = [n.text for n in backward.trace.notes if n.kind in ("item", "branch", "state")]
    said += "".join(f"\nTensors' values decided this, and others may not: {t}" for t in frozen)
    body = f"{first}\n\n{said}{marked}"
    return f'"""{body}\n"""'


def imports(backward: Backward) -> str:
    """Return the imports that the text needs."""
    lines = [line.text for line in backward.trace.lines] + [backward.source]
    uses_functional = any("F." in text for text in lines)
    return "import torch" + ("\nimport torch.nn.functional as F" if uses_functional else "")


def forward_text(backward: Backward, proof: Proof | None = None) -> str:
    """Return the forward pass as a function that also returns the residuals."""
    trace = backward.trace
    names = [*(n.name for n in trace.program.inputs), *trace.program.scalars]
    body = [line for guard in (proof.guards if proof else ()) for line in checked(guard, "file")]
    body += [shaped(line, trace) for line in trace.lines]
    body.append(f"saved = {tupled(saved(backward))}")
    body.append(f"return {trace.output}, saved")
    head = signature("forward", names)
    return head + "\n" + textwrap.indent("\n".join(body), "    ")


def saved(backward: Backward) -> list[str]:
    """Return what the backward pass reads from the forward pass: tensors, then numbers."""
    read = {n for each in backward.lines for n in names_in_text(each.line.text)}
    return [*backward.inputs, *(n for n in backward.trace.program.scalars if n in read)]


def backward_text(backward: Backward) -> str:
    """Return the backward pass as a function of the upstream gradient and the residuals."""
    leaves = [f"d{name}" for name in backward.trace.leaves if name in backward.trace.grads]
    body = [f"{tupled(saved(backward))} = saved"] if saved(backward) else []
    entries = ", ".join(f'"{name}": {name}' for name in leaves)
    body += ["", listing(backward), f"return {{{entries}}}"]
    text = textwrap.indent("\n".join(body), "    ")
    about = f'    """Return the gradient of every leaf, given d{backward.trace.output}."""'
    return f"def backward(d{backward.trace.output}, saved):\n{about}\n{text}"


def shaped(line: Line, trace: Trace) -> str:
    """Return a forward line with the shape of what it makes."""
    shapes = ", ".join(str(list(trace.values[target].shape)) for target in line.targets)
    return f"{line.text}  # {shapes}"


def checked(guard: Guard, what: str = "Function") -> Iterator[str]:
    """Yield the lines that refuse arguments which a text is not written for."""
    words = guard.words.replace("Function", what, 1)
    long = len(guard.test) > WIDTH - 16
    test = textwrap.fill(guard.test, WIDTH - 12, initial_indent="    ", subsequent_indent="    ")
    yield f"if (\n{test}\n):" if long else f"if {guard.test}:"
    yield f"    raise ValueError({words!r})"


def tupled(names: Iterable[str]) -> str:
    """Return names as a tuple, on several lines if they are many."""
    given = list(names)
    text = ", ".join(given) + ("," if len(given) == 1 else "")
    if len(text) <= WIDTH - 20:
        return f"({text})"
    return (
        "(\n"
        + textwrap.fill(text, WIDTH - 8, initial_indent="    ", subsequent_indent="    ")
        + ",\n)"
    )


def signature(name: str, parameters: list[str]) -> str:
    """Return the head of a function."""
    return f"def {name}({', '.join(parameters)}):"


def one_line(text: str) -> str:
    """Return a line's text without its breaks."""
    return " ".join(part.strip() for part in text.splitlines())
