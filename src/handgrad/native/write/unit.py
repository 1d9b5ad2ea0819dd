"""The whole C file of a step: one function for each group, and one that calls them in turn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

from handgrad.native.forms import Form, Unit
from handgrad.native.kernels.dots import dot_lines
from handgrad.native.kernels.tiles import (
    LETTER,
    Tile,
    flip_lines,
    head_lines,
    mix_lines,
    tile_lines,
)
from handgrad.native.lower.array import SIZES, Array
from handgrad.native.lower.groups import Group, grouped
from handgrad.native.lower.stages import Stage, stages
from handgrad.native.lower.step import Step
from handgrad.native.lower.tree import walk
from handgrad.native.write.apart import LONGEST, Apart
from handgrad.native.write.finish import finishes
from handgrad.native.write.frame import Frame
from handgrad.native.write.memory import arena
from handgrad.native.write.nest import Nest

KEYWORDS_TEXT = (
    "auto break case char const continue default do double else enum extern float for goto "
    "if int long register return short signed sizeof static struct switch typedef union "
    "unsigned void volatile while inline restrict bool true false INLINE NAN INFINITY main "
    "hyper slots"
)
KEYWORDS = set(KEYWORDS_TEXT.split())
LOOP = """\
/* Do steps until one's loss is no finite number; return how many were done.
   Before each, rows of the data are copied into the batch: those that `rows` names.
   Those of the next step are on their way from memory meanwhile. */
int64_t hg_run(void **slots, char *arena, const double *hyper, int64_t steps, int64_t batch,
               const int64_t *rows, int copies, const int *into, const char *const *data,
               const int64_t *bytes, double *losses) {{
    for (int64_t step = 0; step < steps; step++, rows += batch) {{
        for (int copy = 0; copy < copies; copy++)
            hg_gather(slots[into[copy]], data[copy], bytes[copy], rows, batch);
        for (int copy = 0; copy < copies && step + 1 < steps; copy++)
            hg_fetch(data[copy], bytes[copy], rows + batch, batch);
        int bad = hg_step(slots, arena, hyper + step * {hypers});
        losses[step] = ((const {ctype} *)slots[{slot}])[0];
        if (bad) return step;
    }}
    return steps;
}}
"""


def write_unit(step: Step, outputs: Mapping[str, Array]) -> Unit:
    """Write a step.

    Args:
        step: what is computed.
        outputs: arrays to hand out beside the updates, by the name of their slot.
    """
    roots = list(dict.fromkeys([*outputs.values(), *step.updates.values()]))
    into = {array: name for name, array in step.updates.items()}
    found = stages(roots, into)
    groups = grouped(found, step.output, set(outputs.values()))
    return Writing(step, outputs, groups).unit()


class Writing:
    """A unit on its way."""

    def __init__(self, step: Step, outputs: Mapping[str, Array], groups: list[Group]) -> None:
        self.step, self.outputs, self.groups = step, dict(outputs), groups
        every = [stage for group in groups for stage in group.stages]
        read = {a for stage in every for a in stage.sources} | set(self.outputs.values())
        given = [n for n, a in step.inputs.items() if a in read or n in step.updates]
        self.slots = (*given, *(f"out:{name}" for name in self.outputs))
        self.hypers = hyper_names(every)
        self.home = self.homes(every)
        self.copies = {n: a for n, a in self.outputs.items() if self.home[a] != f"out:{n}"}
        self.names = named(self.home, self.slots)
        self.offsets, self.size = arena(groups, self.home)
        self.rooms = list(self.offsets)
        self.tiles: set[Tile] = set()
        self.apart = Apart()
        self.scratch = 0

    def homes(self, every: Iterable[Stage]) -> dict[Array, str]:
        """Return the slot that each array stands in; empty for the arena."""
        home = {a: n for n, a in self.step.inputs.items()}
        for stage in every:
            home[stage.array] = stage.into
        for name, array in self.outputs.items():
            if not home.get(array):
                home[array] = f"out:{name}"
        return home

    def unit(self) -> Unit:
        """Return the unit."""
        functions = [self.function(place, group) for place, group in enumerate(self.groups)]
        head = files("handgrad.native.kernels").joinpath("runtime.h").read_text(encoding="utf-8")
        kernels = "\n".join(head_lines()) + "\n"
        for ctype in sorted({tile.ctype for tile in self.tiles if tile.skip or tile.dot}):
            kernels += "\n".join(mix_lines(ctype)) + "\n"
        for tile in sorted(self.tiles):
            kernels += "\n" + "\n".join((dot_lines if tile.dot else tile_lines)(tile)) + "\n"
        body = "\n\n".join([*filter(None, [self.apart.text()]), *functions])
        for ctype, letter in LETTER.items():
            if f"flip_{letter}(" in body:
                kernels += "\n" + "\n".join(flip_lines(ctype)) + "\n"
        parts = [head, kernels, body, "", self.places(), self.entry_point()]
        source = "\n".join(parts)
        size = self.size + self.scratch
        outputs = {name: Form(array.shape, array.ctype) for name, array in self.outputs.items()}
        return Unit(source, self.slots, tuple(self.hypers), size, outputs)

    def function(self, place: int, group: Group) -> str:
        """Write one group as a function."""
        lines = [f"/* {text} */" for text in self.comments(group)]
        head = f"static __attribute__((noinline)) void part{place}({self.parameters(group)}) {{"
        lines += [head, *("    " + line for line in self.turns(group)), "}"]
        return "\n".join(lines)

    def turns(self, group: Group) -> list[str]:
        """Write the stages of a group, inside its outer loop if it has one."""
        frame = Frame(group, self.names, group.block)
        nests = [Nest(frame, member, self.hypers, self.tiles) for member in group.members]
        nests, inner = together(nests)
        inside = self.loops(group, frame, nests)
        most = -(-max(nest.scratch for nest in nests) // 64) * 64
        self.scratch = max(self.scratch, most + frame.held.bytes)
        if not group.size:
            return inside
        opening = [line for nest in nests if nest.member.collects for line in nest.clearing()]
        opening += frame.held.lines(most)
        for array in (a for a in group.local if a not in inner):
            count = math.prod(frame.dims(array))
            opening.append(f"_Alignas(64) {array.ctype} {self.names[array]}[{count}];")
        if group.block == group.size:
            return [*opening, "const int b0 = 0;", *inside]
        head = f"for (int b0 = 0; b0 < {group.size}; b0 += {group.block}) {{"
        return [*opening, head, *("    " + line for line in inside), "}"]

    def loops(self, group: Group, frame: Frame, nests: list[Nest]) -> list[str]:
        """Write the loops of a turn; where they are many, as calls of functions of their own."""
        every = [nest.lines() for nest in nests]
        long = len(nests) > 1 and sum(map(len, every)) > LONGEST
        kinds = {self.names[a]: a.ctype for s in group.stages for a in (s.array, *s.sources)}
        kinds |= {name: str(key[0]) for key, (name, *_) in frame.held.made.items()}
        inside: list[str] = []
        line = ""
        for nest, lines in zip(nests, every, strict=True):
            for text in nest.texts if len(group.members) > 1 else ():
                if text != line:
                    line = text
                    inside.append(f"/* {plain(line)} */")
            inside += [self.apart.call(lines, kinds, nest.name)] if long else lines
        return inside

    def comments(self, group: Group) -> list[str]:
        """Return the lines of the program that a group comes from."""
        texts = dict.fromkeys(stage.array.line for stage in group.stages)
        return [plain(text) for text in texts if text] if len(texts) == 1 else []

    def arrays(self, group: Group) -> list[Array]:
        """Return the arrays that a group's function is given, what it writes first."""
        made = [stage.array for stage in group.stages if stage.array not in group.local]
        read = [a for stage in group.stages for a in self.sorted(stage.sources)]
        return list(dict.fromkeys(a for a in [*made, *read] if a not in group.local))

    def sorted(self, arrays: Iterable[Array]) -> list[Array]:
        """Return arrays by name, the same order on every run."""
        return sorted(arrays, key=lambda array: self.names[array])

    def parameters(self, group: Group) -> str:
        """Write a function's parameters."""
        written = {self.names[stage.array] for stage in group.stages}
        seen: dict[str, str] = {}
        for array in self.arrays(group):
            name = self.names[array]
            constant = "" if name in written else "const "
            seen[name] = f"{constant}{array.ctype} *restrict {name}"
        return ", ".join([*seen.values(), "const double *restrict hyper", "char *restrict scratch"])

    def places(self) -> str:
        """Write where the step's own arrays stand: apart, where a sanitizer checks bounds."""
        apart = [
            f"static _Alignas(64) char room{k}[{max(a.numel, 1) * SIZES[a.ctype]}];"
            for k, a in enumerate(self.rooms)
        ]
        return "\n".join(
            [
                "#ifdef __SANITIZE_ADDRESS__",
                *apart,
                "#define ROOM(place, offset) (void *)room##place",
                "#else",
                "#define ROOM(place, offset) (void *)(arena + offset)",
                "#endif",
                "",
            ]
        )

    def call(self, place: int, group: Group) -> str:
        """Write the call of a group's function."""
        given: dict[str, str] = {}
        for array in self.arrays(group):
            slot = self.home[array]
            if slot:
                text = f"slots[{self.slots.index(slot)}]"
            else:
                text = f"ROOM({self.rooms.index(array)}, {self.offsets[array]})"
            given[self.names[array]] = text
        return f"part{place}({', '.join([*given.values(), 'hyper', f'arena + {self.size}'])});"

    def entry_point(self) -> str:
        """Write the function that does a step: 0, or 1 where the loss is no finite number."""
        lines = ["int hg_step(void **slots, char *arena, const double *hyper) {"]
        updating = False
        for place, group in enumerate(self.groups):
            if not updating and any(stage.into for stage in group.stages):
                updating = True
                lines += self.guard()
            lines.append("    " + self.call(place, group))
        lines += [
            f"    memcpy(slots[{self.place(f'out:{n}')}], slots[{self.place(self.home[a])}], "
            f"{a.numel * SIZES[a.ctype]});"
            for n, a in self.copies.items()
        ]
        lines += [] if updating else self.guard()
        return "\n".join([*lines, "    return 0;", "}", "", self.loop()])

    def loop(self) -> str:
        """Write the function that does many steps, each on rows of the data that are named."""
        place = next((n for n, a in self.outputs.items() if a is self.step.output), None)
        if place is None:
            return ""
        slot = self.slots.index(f"out:{place}")
        return LOOP.format(slot=slot, ctype=self.step.output.ctype, hypers=len(self.hypers))

    def place(self, slot: str) -> int:
        """Return where a slot stands."""
        return self.slots.index(slot)

    def guard(self) -> list[str]:
        """Write the test that ends a step before anything is updated."""
        array = self.step.output
        slot = f"out:{next((n for n, a in self.outputs.items() if a is array), '')}"
        if array.numel != 1 or slot not in self.slots:
            return []
        at = f"((const {array.ctype} *)slots[{self.slots.index(slot)}])[0]"
        return [f"    if (!({at} - {at} == 0)) return 1;"]


def together(nests: list[Nest]) -> tuple[list[Nest], set[Array]]:
    """Return nests with products made where they are read, and the arrays that go by that."""
    found, inner = list(nests), set[Array]()
    for place, nest in enumerate(nests):
        array = nest.array
        if array.kind != "reduce" or array.how != "sum" or array not in nest.frame.group.alone:
            continue
        users = [n for n in nests if array in n.member.stage.sources]
        user = finishes(nest.member, [n.member for n in users], [n.member for n in nests[place:]])
        # what has taken one product has its sums, and reads the others
        if user is not None and users[0].given is None and users[0].take(nest):
            found.remove(nest)
            inner.add(array)
    return found, inner


def plain(text: str) -> str:
    """Return a text that may stand in a comment."""
    return text.replace("*/", "* /").replace("/*", "/ *")


def hyper_names(every: Iterable[Stage]) -> dict[str, int]:
    """Return the numbers that each step is given anew, and where they stand."""
    found: dict[str, int] = {}
    for stage in every:
        for node in walk(stage.body):
            if node.op == "hyper":
                found.setdefault(node.args[0], len(found))
    return found


def named(home: Mapping[Array, str], slots: Iterable[str]) -> dict[Array, str]:
    """Return the C name of each array: the program's, or its line's target with a number."""
    found: dict[Array, str] = {}
    by_slot: dict[str, str] = {}
    taken: set[str] = set()
    for array, slot in home.items():
        if slot and slot in by_slot:
            found[array] = by_slot[slot]
            continue
        name = fresh(array.name or slot.removeprefix("out:") or target_of(array.line), taken)
        found[array] = name
        if slot:
            by_slot[slot] = name
    return found


def target_of(line: str) -> str:
    """Return the name that a line assigns."""
    return line.partition("=")[0].partition(",")[0].strip() or "a"


def fresh(text: str, taken: set[str]) -> str:
    """Return a C name made of a text that no other array has."""
    base = re.sub(r"[^0-9A-Za-z_]+", "_", text).strip("_") or "a"
    if base in KEYWORDS or base[0].isdigit() or re.fullmatch(r"b0|[iqrst]\d+|part\d+|hg_.*", base):
        base += "_"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name
