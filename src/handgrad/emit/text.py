"""The text of an emitted Function: a file that needs nothing but torch."""

from __future__ import annotations

import ast
import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping

from torch.autograd.function import BackwardCFunction

from handgrad.emit.body import Body, Row
from handgrad.emit.parameters import Signature
from handgrad.emit.pytorch import COMPARED, PROVED, WIDTH, checked, one_line
from handgrad.trace import Trace

INDENT = "    "


def class_name(name: str) -> str:
    """Return the name of the class for a function's name: RmsNorm for rms_norm."""
    made = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return made if made and made != name else f"{name}Function"


def function_name(name: str) -> str:
    """Return the name of the function that applies the class: a module's in small letters."""
    if name[:1].isupper():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    taken = keyword.iskeyword(name) or name in ("torch", "F")
    return f"{name}_" if taken else name


def written(
    trace: Trace,
    signature: Signature,
    body: Body,
    shapes: Mapping[str, tuple[int, ...]],
    twice: str,
    unruled: tuple[str, ...] = (),
) -> str:
    """Return the file.

    Args:
        trace: the forward pass.
        signature: how the Function is called.
        body: its lines.
        shapes: the shape of what each name holds.
        twice: why it cannot be differentiated twice; empty if it can.
        unruled: the ops that are left to autograd.
    """
    title = f"A torch.autograd.Function for {signature.name}, its backward pass line by line."
    notes = [PROVED if signature.proved else COMPARED]
    notes += [
        f"{op} has no rule: torch.autograd.functional.vjp stands in for it." for op in unruled
    ]
    writer = Writer(trace, signature, body, shapes, twice)
    lines = "\n".join([*writer.forward(), "", *writer.backward()])
    uses = "F." in lines
    head = f'"""{title}\n\n' + "\n".join(notes) + '\n"""\n\nimport torch'
    head += "\nimport torch.nn.functional as F" if uses else ""
    members = writer.about() + "\n\n" + lines
    kind = f"class {class_name(signature.name)}(torch.autograd.Function):"
    return f"{head}\n\n\n{kind}\n{textwrap.indent(members, INDENT)}\n\n\n{applied(signature)}"


def applied(signature: Signature) -> str:
    """Return the function that applies the class."""
    name = function_name(signature.name)
    called = class_name(signature.name)
    names = ", ".join(signature.names)
    about = f'"""Apply {called}."""'
    head = wrapped(f"def {name}(", signature.head, "):")
    body = wrapped(f"return {called}.apply(", names, ")")
    return f"{head}\n{INDENT}{about}\n{textwrap.indent(body, INDENT)}\n"


class Writer:
    """Write the members of the class; the arguments are those of `written`."""

    def __init__(
        self,
        trace: Trace,
        signature: Signature,
        body: Body,
        shapes: Mapping[str, tuple[int, ...]],
        twice: str,
    ) -> None:
        self.trace, self.signature, self.body = trace, signature, body
        self.shapes, self.twice = shapes, twice
        words = {n for row in (*body.forward, *body.backward) for n in (*row.reads, *row.targets)}
        words |= set(signature.names)
        self.ctx = "ctx" if "ctx" not in words else "ctx_"
        self.needs = "needs" if "needs" not in words else "needs_"

    def about(self) -> str:
        """Return the docstring of the class."""
        kept = ", ".join(self.body.saved) or "nothing"
        twice = (
            f"A second derivative is refused: {self.twice}."
            if self.twice
            else "It can be differentiated twice: all that is saved is an input or the output."
        )
        rest = [textwrap.fill(text, WIDTH - 4) for text in (f"Saved: {kept}.", twice)]
        return "\n".join(
            [f'"""{self.signature.name}, with a backward pass of its own.', "", *rest, '"""']
        )

    def forward(self) -> Iterator[str]:
        """Yield the lines of `forward`."""
        yield "@staticmethod"
        yield wrapped("def forward(", f"{self.ctx}, {self.signature.head}", "):")
        lines = [*self.checks(), *(self.shaped(row) for row in self.body.forward)]
        saved = ", ".join(self.body.saved)
        if saved:
            lines.append(wrapped(f"{self.ctx}.save_for_backward(", saved, ")"))
        if self.body.numbers:
            held = ", ".join(f"{self.ctx}.{attribute(name)}" for name, _ in self.body.numbers)
            lines.append(f"{held} = {', '.join(text for _, text in self.body.numbers)}")
        lines.append(f"return {self.trace.output}")
        yield textwrap.indent("\n".join(lines), INDENT)

    def checks(self) -> Iterator[str]:
        """Yield the lines that refuse arguments which the text is not written for."""
        for parameter in self.signature.parameters:
            if parameter.must:
                other = "is not" if parameter.must in ("None", "True", "False") else "!="
                yield f"if {parameter.name} {other} {parameter.must}:"
                words = f"this backward pass is right for {parameter.name}={parameter.must} alone"
                yield f"{INDENT}raise ValueError({words!r})"
        for guard in self.signature.guards:
            yield from checked(guard)

    def shaped(self, row: Row) -> str:
        """Return a line with the shape of what it makes."""
        shapes = [str(list(self.shapes[t])) for t in row.targets if t in self.shapes]
        text = broken(row.text)
        return f"{text}  # {', '.join(shapes)}" if shapes else text

    def backward(self) -> Iterator[str]:
        """Yield the lines of `backward`."""
        yield "@staticmethod"
        yield f"def backward({self.ctx}, d{self.trace.output}):"
        lines = [*self.refusal(), *self.unpacked()]
        leaves = frozenset(k for k, name in enumerate(self.body.returned) if name)
        if any(row.needs != leaves for row in self.body.backward):
            lines.append(f"{self.needs} = {self.ctx}.needs_input_grad")
            some = [n for n in self.body.returned if n and self.sometimes(n, leaves)]
            lines += nothing(some)
        lines += [*self.groups(leaves), ""]
        returned = ", ".join(n or "None" for n in self.body.returned)
        short = len(returned) <= WIDTH - 16
        lines.append(f"return {returned}" if short else wrapped("return (", returned, ")"))
        yield textwrap.indent("\n".join(lines), INDENT)

    def refusal(self) -> Iterator[str]:
        """Yield the lines that refuse `create_graph=True` where it would go wrong.

        `once_differentiable` would not do: where the upstream gradient needs no gradient it gives
        constants, and the second derivative is silently too small.
        """
        if self.twice:
            words = f"{self.signature.name} has no second derivative: {self.twice}"
            yield "if torch.is_grad_enabled():  # create_graph=True"
            yield f"{INDENT}raise RuntimeError({words!r})"

    def sometimes(self, name: str, leaves: frozenset[int]) -> bool:
        """Tell whether a gradient is made only where it is asked for."""
        return any(name in row.targets and row.needs != leaves for row in self.body.backward)

    def unpacked(self) -> Iterator[str]:
        """Yield the lines that take what was saved."""
        if self.body.saved:
            yield f"{tupled(self.body.saved)} = {self.ctx}.saved_tensors"
        if self.body.numbers:
            held = ", ".join(f"{self.ctx}.{attribute(name)}" for name, _ in self.body.numbers)
            yield f"{', '.join(name for name, _ in self.body.numbers)} = {held}"

    def groups(self, leaves: frozenset[int]) -> Iterator[str]:
        """Yield the lines of gradients, those for some inputs alone under a condition."""
        group, needs = -1, leaves
        for row in self.body.backward:
            again = row.targets[0] in self.trace.values or row.forward < 0
            new = not again and row.forward != group
            if row.needs != needs:
                new, group = not again, -1
                yield ""
                if row.needs != leaves:
                    yield f"if {condition(self.needs, row.needs)}:"
            elif new and needs == leaves:
                yield ""
            needs = row.needs
            pad = INDENT if needs != leaves else ""
            if new:
                group = row.forward
                yield f"{pad}# {one_line(self.trace.lines[group].text)}"
            yield textwrap.indent(self.shaped(row), pad)


def nothing(names: list[str]) -> Iterator[str]:
    """Yield the lines that set names to None, as many on a line as fit."""
    while names:
        count = next(
            (k for k in range(len(names), 0, -1) if len(" = ".join(names[:k])) <= WIDTH - 16), 1
        )
        yield " = ".join([*names[:count], "None"])
        names = names[count:]


def broken(text: str) -> str:
    """Return an assignment, broken at the plus signs of its right side if it is long."""
    node = ast.parse(text).body[0]
    if len(text) <= WIDTH or not isinstance(node, ast.Assign):
        return text
    terms: list[str] = []
    value = node.value
    while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        terms.append(ast.get_source_segment(text, value.right) or "")
        value = value.left
    if not terms:
        return text
    terms.append(ast.get_source_segment(text, value) or "")
    return f"{text.split(' = ')[0]} = (\n{INDENT}" + f"\n{INDENT}+ ".join(terms[::-1]) + "\n)"


def condition(word: str, needs: frozenset[int]) -> str:
    """Return the test whether any of some gradients is asked for."""
    places = sorted(needs)
    if len(places) == 1:
        return f"{word}[{places[0]}]"
    if places == list(range(places[0], places[-1] + 1)):
        return f"any({word}[{places[0] or ''}:{places[-1] + 1}])"
    if len(places) < 5:
        return " or ".join(f"{word}[{place}]" for place in places)
    return f"any({word}[k] for k in {tuple(places)})"


def attribute(name: str) -> str:
    """Return the name of an attribute of ctx that torch does not use itself."""
    return f"{name}_" if hasattr(BackwardCFunction, name) else name


def tupled(names: tuple[str, ...]) -> str:
    """Return names to unpack into, in brackets on several lines if they are many."""
    text = ", ".join(names)
    if len(names) == 1:
        return f"({text},)"
    return text if len(text) <= WIDTH - 40 else wrapped("(", text, ")")


def wrapped(before: str, text: str, after: str) -> str:
    """Return a text in brackets, on several lines if it is long."""
    if len(before + text + after) <= WIDTH - 8:
        return before + text + after
    inside = textwrap.fill(text, WIDTH - 12, initial_indent=INDENT, subsequent_indent=INDENT)
    return f"{before.rstrip()}\n{inside},\n{after}" if after else before + text
