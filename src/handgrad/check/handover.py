"""A trace as plain data, and back: the lines as the IR, every row of the op table by its name.

The process that takes it up believes nothing: each name, text and op is looked at, every line is
run again with its own torch, and the gradients are its own autograd's.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from handgrad.check.pack import BadTalk, Opaque
from handgrad.check.plain import BUILTINS, Plain, resolved
from handgrad.check.talk import each, part, texts
from handgrad.errors import BadInput, Undecided, UserCodeFailed
from handgrad.ir import Arg, Call, Expr, Item, Line, Name, Op, Program, Span, Static
from handgrad.ops import TABLE
from handgrad.spell import literal, spell
from handgrad.threads import threads_for
from handgrad.trace import Trace
from handgrad.trace.foreign import foreign_call
from handgrad.trace.replay import gradients, replay, same
from handgrad.trace.values import Note, Value

MOST_LINES = 20_000
MOST_NODES = 200_000


@dataclass
class Nodes:
    """Expressions as a list of nodes, each after those that it is made of."""

    made: list[Any] = field(default_factory=list[Any])
    known: dict[int, int] = field(default_factory=dict[int, int])

    def expr(self, expr: Expr) -> int:
        """Return the place of an expression in the list."""
        if id(expr) not in self.known:
            data = self.node(expr)
            self.known[id(expr)] = len(self.made)
            self.made.append(data)
        return self.known[id(expr)]

    def node(self, expr: Expr) -> Any:
        """Return one node."""
        if isinstance(expr, Name):
            return ["name", expr.name, expr.shape, expr.dtype]
        if isinstance(expr, Item):
            return ["item", self.expr(expr.call), expr.position]
        args = {name: self.arg(arg) for name, arg in expr.args.items()}
        return ["call", op_data(expr.op), args, [list(o) for o in expr.outputs], expr.constant]

    def arg(self, arg: Arg) -> Any:
        """Return one argument."""
        if isinstance(arg, Static):
            device = isinstance(arg.value, torch.device)
            value = str(arg.value) if device else arg.value
            return ["static", value, repr(value) if device else arg.text]
        if isinstance(arg, tuple):
            return ["tuple", *map(self.arg, arg)]
        return ["expr", self.expr(arg)]


def op_data(op: Op) -> Any:
    """Return which op it is."""
    if not op.foreign:
        return ["row", op.name]
    params = op.spellings[0].params
    words = [p.name for p in params if not p.required]
    return ["foreign", op.name, len(params) - len(words), words, op.several]


def trace_data(trace: Trace) -> dict[str, Any]:
    """Return a trace as data."""
    nodes = Nodes()
    lines = [
        {
            "targets": list(line.targets),
            "expr": nodes.expr(line.expr),
            "text": line.text,
            "source": line.source,
            "file": line.span.file if line.span else "",
            "line": line.span.line if line.span else 0,
            "differentiable": line.differentiable,
        }
        for line in trace.lines
    ]
    return {
        "lines": lines,
        "nodes": nodes.made,
        "inputs": [name.name for name in trace.program.inputs],
        "scalars": dict(trace.program.scalars),
        "output": trace.output,
        "values": dict(trace.values),
        "leaves": list(trace.leaves),
        "upstream": trace.upstream,
        "given": trace.given,
        "aliases": dict(trace.aliases),
        "items": [note.text for note in trace.notes if note.kind == "item"],
    }


def trace_of(data: Mapping[str, Any]) -> Trace:
    """Return the trace in a message, its lines run again here.

    Raises:
        BadTalk: it does not have the form of one.
        UserCodeFailed: a line gives another value here than it gave there.
    """
    program, values = told_program(data)
    output, leaves = program.output, texts(data, "leaves")
    upstream = part(data, "upstream", torch.Tensor)
    if not {*leaves} <= {*values} or upstream.shape != values[output].shape:
        raise BadTalk("the upstream gradient has another shape than the output")
    aliases = {o: each(n, str) for o, n in part(data, "aliases", dict).items()}
    if not {*aliases.values()} <= {*values} or {*aliases} & {*values, "torch", "F"}:
        raise BadTalk("another name of nothing")
    if not all(values[name].is_floating_point() for name in leaves):
        raise BadTalk("a leaf has no gradient")
    program, tensors = run_again(program, values, frozenset(leaves))
    return Trace(
        program=program,
        values={name: tensor.detach() for name, tensor in tensors.items()},
        grads=gradients(tensors[output], tensors, upstream),
        leaves=leaves,
        upstream=upstream,
        given=part(data, "given", bool),
        aliases=aliases,
        notes=tuple(Note("item", None, text) for text in texts(data, "items")),
    )


def told_program(data: Mapping[str, Any]) -> tuple[Program, dict[str, torch.Tensor]]:
    """Return the program in a message, and its tensors by name.

    Raises:
        BadTalk: it does not have the form of one.
    """
    told = part(data, "values", dict)
    values = {identifier(n): part(told, n, torch.Tensor).requires_grad_(False) for n in told}
    scalars = {identifier(n): v for n, v in part(data, "scalars", dict).items()}
    reader = Reader(values, Plain({*values, *scalars}))
    lines = reader.lines(part(data, "nodes", list), part(data, "lines", list))
    inputs = tuple(name_of(n, values) for n in texts(data, "inputs"))
    output = part(data, "output", str)
    made = [target for line in lines for target in line.targets]
    if sorted([*(n.name for n in inputs), *made]) != sorted(values) or output not in made:
        raise BadTalk("the lines do not make the values")
    return Program(tuple(lines), inputs, scalars, output), values


def run_again(
    program: Program, values: Mapping[str, torch.Tensor], leaves: frozenset[str]
) -> tuple[Program, dict[str, torch.Tensor]]:
    """Run the lines here, as they are written and as the IR has them: both give the values.

    Raises:
        UserCodeFailed: they do not.
    """
    recorded = {
        name: Value(value, 0, leaf=name in leaves, requires=name in leaves)
        for name, value in values.items()
    }
    try:
        with threads_for(values.values()):
            again, tensors = replay(program, recorded)
            _, twice = replay(spelled(program), recorded)
        if not tensors[program.output].requires_grad:
            raise BadTalk("the output depends on no leaf")
    except BadInput as error:
        raise UserCodeFailed(
            f"{error.what.partition(' ')[0]} has another value when its line runs apart from the "
            "file",
            where=error.where,
            why=error.why,
            hint="does the file change torch or handgrad?",
        ) from error
    if not all(same(twice[name].detach(), tensor.detach()) for name, tensor in tensors.items()):
        raise BadTalk("a line is not what it is said to be")
    return again, tensors


def spelled(program: Program) -> Program:
    """Return a program with every line spelled as the IR has it."""
    lines = (
        dataclasses.replace(line, text=f"{', '.join(line.targets)} = {spell(line.expr)}")
        for line in program.lines
    )
    return dataclasses.replace(program, lines=tuple(lines))


def identifier(name: Any) -> str:
    """Return a name that a tensor or number may have."""
    plain = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    if not plain or name.startswith("__") or name in BUILTINS or name in ("torch", "F"):
        raise BadTalk("a name is none")
    return name


def name_of(name: str, values: Mapping[str, torch.Tensor]) -> Name:
    """Return the IR's name of a value."""
    value = part(values, name, torch.Tensor)
    return Name(name, tuple(value.shape), value.dtype)


@dataclass
class Reader:
    """Read lines and the nodes that they are made of."""

    values: Mapping[str, torch.Tensor]
    plain: Plain
    nodes: list[Expr] = field(default_factory=list[Expr])

    def lines(self, nodes: list[Any], lines: list[Any]) -> list[Line]:
        """Return the lines."""
        if len(lines) > MOST_LINES or len(nodes) > MOST_NODES:
            raise BadTalk("too many lines")
        for node in nodes:
            self.nodes.append(self.node(node))
        return [self.line(line) for line in lines]

    def line(self, data: Any) -> Line:
        """Return one line; a text that is more than plain torch is spelled from the IR."""
        targets = texts(data, "targets")
        expr = self.at(part(data, "expr", int))
        text, source = part(data, "text", str), part(data, "source", str)
        if not targets or not {*targets} <= {*self.values}:
            raise BadTalk("a line makes nothing known")
        if not self.plain.text(text):
            text = f"{', '.join(targets)} = {spell(expr)}"
        file, number = part(data, "file", str), part(data, "line", int)
        span = Span(file, number) if file else None
        return Line(targets, expr, text, source, span, part(data, "differentiable", bool))

    def at(self, place: int) -> Expr:
        """Return the node at a place that was read already."""
        if not 0 <= place < len(self.nodes):
            raise BadTalk("a node is missing")
        return self.nodes[place]

    def node(self, data: Any) -> Expr:
        """Return one node."""
        match data:
            case ["name", str(name), tuple(shape), torch.dtype() as dtype] if name in self.values:
                return Name(name, tuple(each(size, int) for size in shape), dtype)
            case ["item", int(place), int(position)]:
                call = self.at(place)
                if isinstance(call, Call) and 0 <= position < len(call.outputs):
                    return Item(call, position)
            case ["call", [*op], dict(args), [*outputs], bool(constant)]:
                given = {each(n, str): self.arg(a) for n, a in args.items()}
                return Call(op_of(op, given), given, tuple(map(form, outputs)), constant)
            case _:
                pass
        raise BadTalk("a node is of no kind")

    def arg(self, data: Any) -> Arg:
        """Return one argument."""
        match data:
            case ["static", value, str(text)]:
                if isinstance(value, Opaque):
                    raise BadTalk(f"an argument of type {value.kind}")
                return Static(value, text if self.plain.index(text) else literal(value))
            case ["tuple", *rest]:
                return tuple(map(self.arg, rest))
            case ["expr", int(place)]:
                return self.at(place)
            case _:
                raise BadTalk("an argument is of no kind")


def form(data: Any) -> tuple[tuple[int, ...], torch.dtype]:
    """Return the shape and dtype of an output."""
    match data:
        case [tuple(shape), torch.dtype() as dtype]:
            return tuple(each(size, int) for size in shape), dtype
        case _:
            raise BadTalk("an output has no shape")


def op_of(data: list[Any], args: Mapping[str, Arg]) -> Op:
    """Return an op: a row of the table, or a function of torch that has none.

    Raises:
        BadTalk: it is neither.
        Undecided: the function is not one that may be called here.
    """
    match data:
        case ["row", str(name)] if name in TABLE.by_name:
            op = TABLE.by_name[name]
        case ["foreign", str(dotted), int(count), [*words], bool(several)] if 0 <= count < 100:
            function = resolved(dotted)
            if function is None:
                raise Undecided(
                    f"{dotted[:200]} cannot be run apart from the file",
                    hint="in Python `hg.check(trace, FILE)` judges it in the process that runs it",
                )
            if not all(isinstance(word, str) and word.isidentifier() for word in words):
                raise BadTalk("a keyword is none")
            given = dict.fromkeys(map(str, words))
            op, _ = foreign_call(function, (None,) * count, given, several)
        case _:
            raise BadTalk("an op is of no kind")
    first = op.spellings[0].params
    if not {*args} <= {p.name for p in first}:
        raise BadTalk("an op has arguments that it does not take")
    return op
