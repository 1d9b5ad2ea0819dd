"""From a recording to a program: which values are lines, what each is called, how it is spelled."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from handgrad.ir import Arg, Call, Expr, Item, Line, Name, Program, names
from handgrad.spell import literal, spell
from handgrad.trace.recorder import Recorder
from handgrad.trace.result import Draw
from handgrad.trace.source import Hole, Place, Scalar
from handgrad.trace.values import Value, values_in

DEEPEST = 24  # calls in each other, in one line: nobody reads more, and every walk may recurse
WIDEST = 300  # characters, about
WORD = 8  # characters that a name, or the name of a call, takes
RESERVED = {"torch", "F", *keyword.kwlist, *dir(builtins)}
WORDS = {"torch", "F", "range", "float", "int", "len"}


@dataclass
class Assembly:
    """What is known while a program is put together."""

    recorder: Recorder
    output: Value
    setup_is_input: bool
    names: dict[int, str] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    exprs: dict[int, Expr] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)
    gradients: set[str] = field(default_factory=set)

    def program(self) -> tuple[Program, dict[str, Value]]:
        """Return the program and the value behind each of its names."""
        needed = self.needed()
        inputs = [value for value in needed if self.is_input(value)]
        lines = self.line_values([value for value in needed if not self.is_input(value)])
        self.taken |= dict.fromkeys(self.recorder.externals, 1)
        made = {id(value) for value in lines}
        for value in sorted(  # the user's names first
            [*inputs, *lines], key=lambda v: (not self.base_name(v), id(v) in made)
        ):
            base = self.base_name(value) or self.made_name(value)
            self.names[id(value)] = self.fresh(base, value)
        self.clear_gradients()
        built = tuple(self.lines(lines))
        by_name = {self.names[id(value)]: value for value in [*inputs, *lines]}
        names_in = tuple(name_of(self.names[id(value)], value) for value in inputs)
        output = self.names[id(self.output)]
        externals = dict(self.recorder.externals)
        return Program(
            built, names_in, dict(self.scalars), output, self.sizes(), externals
        ), by_name

    def draws(self, program: Program, by_name: Mapping[str, Value]) -> dict[str, Draw]:
        """Return how the inputs that were drawn at random are drawn."""
        orders = [by_name[line.target].order for line in program.lines]
        found: dict[str, Draw] = {}
        for name in (each.name for each in program.inputs):
            value = by_name[name]
            if value.random and value.op is not None and not self.is_set_up(value):
                before = sum(order < value.order for order in orders)
                found[name] = Draw(self.line(value, (name,), self.build(value)), before)
        return found

    def updates(self, by_name: Mapping[str, Value]) -> dict[str, Line]:
        """Return how the arguments and buffers that the forward pass changed are changed."""
        found: dict[str, Line] = {}
        for name, before in by_name.items():
            after = self.recorder.current.get(id(before.tensor))
            if before.op is None and after is not None and after is not before:
                found[name] = self.line(after, (name,), self.argument(after))
        return found

    def sizes(self) -> dict[str, str]:
        """Return the scalars that were taken from one shape wherever they are read."""
        found: dict[str, str] = {}
        for name in self.scalars:
            first, *others = self.recorder.counts.get(name, [None])
            if first is None or any(
                o is None or o[0] is not first[0] or o[1] != first[1] for o in others
            ):
                continue
            tensor = self.spell_hole(Hole(0, 0, "", None, first[0]))
            if tensor is not None:
                found[name] = f"{tensor}.shape[{first[1]}]"
        return found

    def needed(self) -> list[Value]:
        """Return the values that the output, or a name of the root frame, is made from."""
        found: dict[int, Value] = {}
        named = [v for v in self.recorder.values if self.in_root(v) and v.order < self.output.order]
        stack = [self.output, *(v for v in named if v.requires and not self.is_input(v))]
        stack += self.changed()
        while stack:
            value = stack.pop()
            if id(value) in found:
                continue
            found[id(value)] = value
            if not self.is_input(value) or (value.random and not self.is_set_up(value)):
                stack.extend(values_in(value.args.values()))
                stack.extend(v for v in value.group if v.names)
        self.uses = Counter(
            id(arg)
            for value in {id(v.group[0]) if v.group else id(v): v for v in found.values()}.values()
            if not self.is_input(value)
            for arg in values_in(value.args.values())
        )
        return sorted(found.values(), key=lambda value: value.order)

    def changed(self) -> list[Value]:
        """Return what the arguments and buffers that were changed became, and what they were."""
        current = self.recorder.current
        found: list[Value] = []
        for value in [v for v in self.recorder.values if id(v) in self.recorder.given]:
            after = current.get(id(value.tensor))
            if after is not None and after is not value:
                found += [value, after]
        return found

    def in_root(self, value: Value) -> bool:
        """Tell whether a value has a name in the outermost frame."""
        return any(depth == 0 for depth, *_ in value.names)

    def is_input(self, value: Value) -> bool:
        """Tell whether a value comes from outside the program."""
        if value.op is None:
            return True
        if value.requires:
            return False
        return value.random or self.is_set_up(value)

    def is_set_up(self, value: Value) -> bool:
        """Tell whether a value was made before the forward pass begins."""
        return self.setup_is_input and value.order < self.first_line

    @cached_property
    def first_line(self) -> int:
        """Return the order of the first value that depends on a leaf."""
        return min(
            (v.order for v in self.recorder.values if v.op is not None and v.requires), default=0
        )

    def line_values(self, made: list[Value]) -> list[Value]:
        """Return the values that are lines.

        One that would be long or deep to write is one too, and one that ran without gradients
        inside a line that has some.
        """
        cut = {id(a) for v in made if v.requires for a in values_in(v.args.values()) if a.cut}
        found: list[Value] = []
        depth: dict[int, int] = {}
        width: dict[int, int] = {}  # of the text, about
        for value in made:
            read = list(values_in(value.args.values()))
            deep = 1 + max((depth.get(id(v), 0) for v in read), default=0)
            wide = WORD + sum(width.get(id(v), WORD) for v in read)
            wide += sum(len(arg.text) for arg in value.args.values() if isinstance(arg, Scalar))
            if self.is_line(value) or id(value) in cut or deep >= DEEPEST or wide >= WIDEST:
                found.append(value)
            else:
                depth[id(value)], width[id(value)] = deep, wide
        return found

    def is_line(self, value: Value) -> bool:
        """Tell whether a value is a line of its own: named, used twice, or the output."""
        if value is self.output or value.names:
            return True
        return self.uses[id(value)] > 1 and value.requires

    def base_name(self, value: Value) -> str:
        """Return the name that the user gave: the outermost frame's, the first one there."""
        if value.names:
            return min(enumerate(value.names), key=lambda pair: (pair[1][0], pair[0]))[1][1]
        return identifier(value.hint)

    def made_name(self, value: Value) -> str:
        """Return a name for a value that the user left without one."""
        targets = value.place.targets if value.place else ()
        if value is self.output:
            return "loss" if not value.form[0] else "out"
        if value.op is None:
            return "x"
        if value.random:
            return drawn_name(value.op.name)
        return targets[0] if targets else identifier(value.op.name if value.op else "") or "x"

    def fresh(self, base: str, value: Value) -> str:
        """Return the name, with a number if it is taken: x, x_1, x_2."""
        base = base if base not in RESERVED else base + "_"
        name = base
        while name in self.taken:
            count = self.taken[base]
            self.taken[base] = count + 1
            name = f"{base}_{count}"
        self.taken[name] = 1
        return name

    def clear_gradients(self) -> None:
        """Rename what is called as the gradient of another tensor: `dloss` to `dloss_`."""
        values = {id(value): value for value in self.recorder.values}
        wanted = [key for key in self.names if values[key].requires]
        while True:  # a new name has a gradient too
            self.gradients = {f"d{self.names[key]}" for key in wanted}
            clash = next((key for key, name in self.names.items() if name in self.gradients), None)
            if clash is None:
                return
            name = self.names[clash]
            while name in self.gradients or name in self.taken:
                name += "_"
            self.taken[name] = 1
            self.names[clash] = name

    def lines(self, values: list[Value]) -> Iterator[Line]:
        """Yield the program's lines; outputs of one call that are all named are one line."""
        done: set[int] = set()
        for value in values:
            if id(value) in done:
                continue
            together = self.together(value)
            done |= {id(v) for v in together}
            targets = tuple(self.names[id(v)] for v in together)
            expr = self.call(value) if len(together) > 1 else self.build(value)
            yield self.verbatim(self.line(value, targets, expr), value, bound_at(value))

    def line(self, value: Value, targets: tuple[str, ...], expr: Arg) -> Line:
        """Return a value's line, spelled as the table spells it."""
        place = bound_at(value)
        assert isinstance(expr, Name | Call | Item)
        return Line(
            targets,
            expr,
            f"{', '.join(targets)} = {spell(expr)}",
            place.text if place else "",
            place.span if place else None,
            any(v.requires for v in value.group) if len(targets) > 1 else value.requires,
        )

    def together(self, value: Value) -> tuple[Value, ...]:
        """Return the outputs that one statement binds together with this one."""
        place = bound_at(value)
        group = value.group
        named = all(id(v) in self.names and bound_at(v) == place for v in group)
        whole = place is not None and len(place.targets) == len(group)
        return group if len(group) > 1 and named and whole else (value,)

    def verbatim(self, line: Line, value: Value, place: Place | None) -> Line:
        """Return the line as the user wrote it, where that text means the same here."""
        statement = place.statement if place else None
        if place is None or not isinstance(statement, ast.Assign) or "\n" in place.text:
            return line
        inside = [v for v in self.inlined(value) if v.frames]
        if any(len(v.frames) > 1 or next(iter(v.frames))[1] is not place for v in inside):
            return line
        read = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)}
        reads = set(names(line.expr))
        known = reads | set(self.scalars) | set(self.recorder.externals) | WORDS
        if not reads <= read:
            return line  # part of it has a line of its own
        starred = any(isinstance(n, ast.Starred) for t in statement.targets for n in ast.walk(t))
        if starred or place.targets != line.targets or not read <= known:
            return line
        return Line(line.targets, line.expr, place.text, place.text, line.span, line.differentiable)

    def inlined(self, value: Value) -> Iterator[Value]:
        """Yield the value and the unnamed values that its line is made from."""
        seen: set[int] = set()
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if id(each) not in seen:
                seen.add(id(each))
                yield each
                args = values_in(each.args.values())
                waiting.extend(arg for arg in args if id(arg) not in self.names)

    def build(self, value: Value) -> Expr:
        """Return the expression of a value's own line."""
        call = self.call(value)
        return call if value.item is None else Item(call, value.item)

    def call(self, value: Value) -> Call:
        """Return the call that made a value, shared by its outputs."""
        key = id(value.group[0])
        if key not in self.calls:
            assert value.op is not None
            args = {name: self.argument(arg) for name, arg in value.args.items()}
            outputs = tuple(v.form for v in value.group)
            self.calls[key] = Call(value.op, args, outputs, constant=self.is_cut(value))
        return self.calls[key]

    def is_cut(self, value: Value) -> bool:
        """Tell whether no gradient flows through the call that made a value."""
        return not any(v.requires for v in value.group)

    def argument(self, arg: Any) -> Arg:
        """Return an argument as part of an expression."""
        if isinstance(arg, Value):
            if id(arg) in self.names:
                return name_of(self.names[id(arg)], arg)
            if id(arg) not in self.exprs:
                self.exprs[id(arg)] = self.build(arg)
            return self.exprs[id(arg)]
        if isinstance(arg, tuple):
            return tuple(self.argument(part) for part in arg)
        assert isinstance(arg, Scalar)
        return arg.static(self.spell_hole)

    def spell_hole(self, hole: Hole) -> str | None:
        """Spell a name inside a scalar: as it is if it always meant this value, else its value."""
        if hole.tensor is not None:
            value = self.recorder.current.get(id(hole.tensor))
            if value is not None and id(value) in self.names:
                return self.names[id(value)]
            return None
        seen = self.recorder.scalars.get(hole.name, [])
        steady = all(type(v) is type(hole.value) and v == hole.value for v in seen)
        known = hole.name in self.taken or hole.name in RESERVED or hole.name in self.gradients
        if hole.name and steady and not known:
            self.scalars[hole.name] = hole.value
            return hole.name
        text = literal(hole.value)
        return f"({text})" if text.startswith("-") else text


def bound_at(value: Value) -> Place | None:
    """Return the statement that gave the value its name."""
    if value.names:
        return min(enumerate(value.names), key=lambda pair: (pair[1][0], pair[0]))[1][3]
    return value.place


def name_of(name: str, value: Value) -> Name:
    """Return the IR's name of a value."""
    return Name(name, *value.form)


def identifier(text: str) -> str:
    """Turn source text such as `self.fc1.weight` or `params['W1']` into a name."""
    text = re.sub(r"^self\.", "", text)
    bare = re.sub(r"\W+", "_", text).strip("_")
    return f"x_{bare}" if bare[:1].isdigit() else bare


def drawn_name(op: str) -> str:
    """Return a name for a draw that the user left without one."""
    called = [n for n in re.findall(r"\w+(?=\()", op) if n != "empty_like"]
    bare = identifier(called[0] if called else op.split(".")[-1]).strip("_")
    return "mask" if "dropout" in bare else bare or "draw"
