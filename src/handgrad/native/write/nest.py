"""One stage as loops in C."""

from __future__ import annotations

from dataclasses import dataclass, field

from handgrad.native.kernels.tiles import Tile, lanes
from handgrad.native.lower.array import Array, depends
from handgrad.native.lower.expr import (
    Entry,
    apply,
    axes_of,
    is_float,
    summed,
    terms,
    var,
    whole,
)
from handgrad.native.lower.groups import Member
from handgrad.native.lower.stages import COSTS
from handgrad.native.lower.tree import substitute, walk
from handgrad.native.write.finish import Finishing, Site, finishing
from handgrad.native.write.frame import Frame, collapsed, fittest, step_of, straight
from handgrad.native.write.product import Product, ProductWriter, find_product
from handgrad.native.write.text import Writer, number

START = {"sum": 0.0, "prod": 1.0, "max": -float("inf"), "min": float("inf")}
COSTLY = COSTS["exp"]
MOST_TWICE = 16  # vectors of a loop whose last vector writes some entries again
WHOLE_START = {"sum": 0, "prod": 1, "max": -(2**63) + 1, "min": 2**63 - 1}


@dataclass
class Nest:
    """A stage that is being written.

    Attributes:
        hypers: where the number of a name stands.
        given: its loops, where they have been written with a product that it reads.
    """

    frame: Frame
    member: Member
    hypers: dict[str, int]
    tiles: set[Tile] = field(default_factory=set)
    scratch: int = 0
    given: list[str] | None = None

    def __post_init__(self) -> None:
        array = self.member.stage.array
        self.texts = (array.line,)
        self.array = array
        self.name = self.frame.names[array]
        self.loops = [v for v in self.own(axes_of(array.shape)) if v.op == "var"]
        index = tuple(self.placed(axis) for axis in axes_of(array.shape))
        self.target = self.frame.position(array, index)
        self.body = self.placed(self.member.stage.body)

    def own(self, variables: tuple[Entry, ...]) -> list[Entry]:
        """Return a stage's variables as they run in this turn."""
        outer = self.member.outer
        return [var(v.args[0], self.frame.block) if v is outer else v for v in variables]

    def placed(self, entry: Entry) -> Entry:
        """Return an entry of the stage in terms of this turn's variables."""
        return self.frame.placed(self.member, entry)

    def writer(self) -> Writer:
        """Return a writer of entries of this stage."""
        writer = Writer(lambda read: "", self.hypers)
        writer.address = lambda read: (
            f"{self.frame.names[read.args[0]]}[{writer.text(read.args[1][0])}]"
        )
        return writer

    def lines(self) -> list[str]:
        """Return the stage's loops."""
        if self.given is not None:
            return self.given
        return getattr(self, f"{self.array.kind}_lines")()

    def start(self) -> str:
        """Return what a reduction starts from."""
        if is_float(self.array.ctype):
            return number(START[self.array.how], self.array.ctype)
        return f"{WHOLE_START[self.array.how]}LL"

    def map_lines(self) -> list[str]:
        """Write entries, each by itself."""
        loops, (body, target) = collapsed(self.loops, [self.body, self.target])
        loops, (body, target), inner = straight(loops, [body, target])
        writer = self.writer()
        code = writer.statements([body, target])
        code.append(f"{self.name}[{writer.text(target)}] = {writer.text(body)};")
        if inner is not None and self.repeatable(loops, inner):
            inside = in_vectors(inner, code, lanes(self.array.ctype))
        else:
            inside = innermost(inner, code, simd=True)
        return nested([v for v in loops if v is not inner], inside)

    def repeatable(self, loops: list[Entry], inner: Entry) -> bool:
        """Tell whether a costly loop, no whole number of vectors, may make some entries twice."""
        unit, size = lanes(self.array.ctype), inner.args[1]
        nodes = list(walk(self.body))
        own = any(
            node.op == "read" and self.frame.names[node.args[0]] == self.name for node in nodes
        )
        costly = any(COSTS.get(node.op, 1) >= COSTLY for node in nodes)
        short = unit < size < MOST_TWICE * unit and size % unit > 0
        return costly and short and not own and inner in loops and step_of(self.target, inner) == 1

    def reduce_lines(self) -> list[str]:
        """Write a reduction: along memory where it goes on, collecting in registers or in place."""
        over = [var(f"r{k}", n) for k, n in enumerate(self.array.over)]
        over = [v for v in self.own(tuple(over)) if v.op == "var"]
        if self.array.how.startswith("arg"):
            return self.first_lines(over)
        if not self.member.collects and self.array.how == "sum":
            found = self.product_lines(over)
            if found is not None:
                return found
        outer, (body, target) = collapsed(self.loops, [self.body, self.target])
        over, (body,) = collapsed(over, [body])
        inner = fittest([*outer, *over], [body], target)
        if inner in outer and not self.member.collects:
            return self.in_place(outer, over, inner, body, target, fresh=True)
        if self.member.collects:
            return self.in_place(outer, over, inner, body, target, fresh=False)
        return self.in_register(outer, over, inner, body, target)

    def product_lines(self, over: list[Entry], user: Nest | None = None) -> list[str] | None:
        """Write a reduction that is a matrix product in tiles; None if it is none.

        Args:
            over: the variables that are summed over.
            user: the map that is stored in place of the sums; None stores the sums.
        """
        to, other = (self, None) if user is None else (user, user.body)
        ctype = self.array.ctype
        found = find_product(self.loops, over, self.body, to.target, ctype, other)
        if found is None:
            return None
        left, right = (self.frame.names[read.args[0]] for read in (found.a, found.b))
        names = (left, right, to.name)
        held = self.frame.held if self.same_at_every_turn(found.b) else None
        writer = ProductWriter(found, ctype, names, self.writer().text, self.tiles, held)
        if user is not None:
            writer.finishing = user.finishing(found, self.array) if writer.at_once() else None
            if writer.finishing is None:
                return None
        lines = nested([*found.loops, *found.more], writer.lines())
        self.scratch = max(self.scratch, writer.scratch)
        return (
            lines
            if found.loops or found.more or not writer.scratch
            else ["{", *indented(lines), "}"]
        )

    def finishing(self, product: Product, made: Array) -> Finishing | None:
        """Return how the tiles of a product store this map; None if they cannot."""
        assert product.n is not None
        assert product.other is not None
        site = Site(made, product.c, product.m, product.n, self.frame.names)
        known = [tile.finish for tile in sorted(self.tiles)]
        return finishing(self.name, product.other, site, self.writer(), known)

    def take(self, maker: Nest) -> bool:
        """Make a product where this map is made of it; tell whether that can be."""
        over = [var(f"r{k}", n) for k, n in enumerate(maker.array.over)]
        own = [v for v in maker.own(tuple(over)) if v.op == "var"]
        self.given = maker.product_lines(own, self)
        if self.given is None:
            return False
        self.scratch, self.texts = maker.scratch, (maker.array.line, *self.texts)
        return True

    def same_at_every_turn(self, read: Entry) -> bool:
        """Tell whether what is read is the same at every one of several turns."""
        group, array = self.frame.group, read.args[0]
        made = {name for s in group.stages for name in (self.frame.names[s.array], s.into)}
        several = group.block < group.size
        own = self.frame.names[array] not in made
        return several and own and not depends(read.args[1][0], self.frame.start)

    def in_register(
        self, outer: list[Entry], over: list[Entry], inner: Entry | None, body: Entry, target: Entry
    ) -> list[str]:
        """Write a reduction whose innermost loop collects into one variable."""
        inside = self.collected(over, inner, body)
        opening = [f"{self.array.ctype} sum_ = {self.start()};"]
        opening += ["int nan_ = 0;"] if self.meets_nan else []
        value = "nan_ ? NAN : sum_" if self.meets_nan else "sum_"
        closing = [f"{self.name}[{self.writer().text(target)}] = {value};"]
        return nested(outer, block([*opening, *inside, *closing], outer))

    @property
    def meets_nan(self) -> bool:
        """Tell whether NaN is looked for: no comparison finds it."""
        return self.array.how in ("max", "min") and is_float(self.array.ctype)

    def collected(self, over: list[Entry], inner: Entry | None, body: Entry) -> list[str]:
        """Return the loops that collect into one variable, the innermost marked as a reduction.

        What gcc 12 makes of others, unasked and in order, is wrong for arrays read backwards.
        """
        writer = self.writer()
        code = writer.statements([body])
        value, ctype, how = writer.text(body), self.array.ctype, self.array.how
        code += collecting("sum_", value, how, ctype)
        clause = f"reduction({REDUCERS[how]}:sum_)"
        clause += " reduction(|:nan_)" if self.meets_nan else ""
        inside = innermost(inner, code, simd=True, clause=clause)
        return nested([v for v in over if v is not inner], inside)

    def in_place(
        self,
        outer: list[Entry],
        over: list[Entry],
        inner: Entry | None,
        body: Entry,
        target: Entry,
        fresh: bool,
    ) -> list[str]:
        """Write a reduction that collects where its result stands, along its own axis."""
        along = inner in outer
        rest = [v for v in outer if v is not inner]
        if not along and over and self.array.how in ("sum", "prod"):
            lines = block(self.added_up(over, inner, body, target), rest)
        else:
            lines = self.stored_at_once(over, inner, body, target, along)
        if not fresh:
            return nested(rest, lines)
        clear = [f"{self.name}[{self.writer().text(target)}] = {self.start()};"]
        return nested(rest, [*innermost(inner if along else None, clear, simd=True), *lines])

    def stored_at_once(
        self, over: list[Entry], inner: Entry | None, body: Entry, target: Entry, along: bool
    ) -> list[str]:
        """Write the loops that join every value to the result where that stands."""
        how = self.array.how
        if along and how == "sum":
            over, body = by_fours(over, body)
        writer = self.writer()
        code = writer.statements([body, target])
        spot = f"{self.name}[{writer.text(target)}]"
        if how in ("sum", "prod"):
            code.append(f"{spot} {REDUCERS[how]}= {writer.text(body)};")
        else:
            suffix = {"float": "f", "double": ""}.get(self.array.ctype, "_whole")
            code.append(f"{spot} = hg_{how}{suffix}({spot}, {writer.text(body)});")
        return nested([v for v in over if v is not inner], innermost(inner, code, simd=along))

    def added_up(
        self, over: list[Entry], inner: Entry | None, body: Entry, target: Entry
    ) -> list[str]:
        """Write a sum or product that is collected in one variable, then joined to its result."""
        spot = f"{self.name}[{self.writer().text(target)}]"
        return [
            f"{self.array.ctype} sum_ = {self.start()};",
            *self.collected(over, inner, body),
            f"{spot} {REDUCERS[self.array.how]}= sum_;",
        ]

    def clearing(self) -> list[str]:
        """Return what sets the result of a collecting stage to its start, before the loop."""
        loops, (target,) = collapsed(self.loops, [self.target])
        return nested(loops, [f"{self.name}[{self.writer().text(target)}] = {self.start()};"])

    def first_lines(self, over: list[Entry]) -> list[str]:
        """Write the place of the first greatest or smallest entry; NaN is beyond both."""
        writer = self.writer()
        code = writer.statements([self.body])
        sign = ">" if self.array.how == "argmax" else "<"
        flat, step = [], 1
        for variable in reversed(over):
            flat.append((variable, step))
            step *= variable.args[1]
        place = writer.text(summed(*flat))
        ctype = self.body.ctype
        code.append(f"const {ctype} value_ = {writer.text(self.body)};")
        code.append(
            f"if (!(best_ != best_) && (at_ < 0 || value_ {sign} best_ || value_ != value_)) "
            f"{{ best_ = value_; at_ = {place}; }}"
        )
        opening = [f"{ctype} best_ = 0;", "int64_t at_ = -1;"]
        closing = [f"{self.name}[{self.writer().text(self.target)}] = at_;"]
        return nested(self.loops, block([*opening, *nested(over, code), *closing], self.loops))

    def scan_lines(self) -> list[str]:
        """Write a running sum or product along an axis."""
        axis = axes_of(self.array.shape)[self.array.over[0]]
        loops = [v for v in self.loops if v is not axis]
        writer = self.writer()
        code = writer.statements([self.body])
        sign = "+" if self.array.how == "sum" else "*"
        code.append(f"sum_ {sign}= {writer.text(self.body)};")
        code.append(f"{self.name}[{writer.text(self.target)}] = sum_;")
        first = "0" if self.array.how == "sum" else "1"
        run = nested([axis] if axis.op == "var" else [], code)
        return nested(loops, block([f"{self.array.ctype} sum_ = {first};", *run], loops))

    def scatter_lines(self) -> list[str]:
        """Write entries to the places that they name, over zeros or over the base."""
        array, frame = self.array, self.frame
        loops, (target,) = collapsed(self.loops, [self.target])
        if array.base is None:
            first = "0"
        else:
            base = frame.position(array.base, axes_of(array.shape))
            _, (base,) = collapsed(self.loops, [base])
            first = f"{frame.names[array.base]}[{self.writer().text(base)}]"
        clear = [f"{self.name}[{self.writer().text(target)}] = {first};"]
        inner = loops[-1] if loops else None
        found = nested(loops[:-1], innermost(inner, clear, simd=True))
        space = [v for v in (var(f"s{k}", n) for k, n in enumerate(array.over)) if v.op == "var"]
        places = tuple(self.placed(place) for place in self.member.stage.places)
        space, (at, body) = collapsed(space, [frame.position(array, places), self.body])
        writer = self.writer()
        code = writer.statements([at, body])
        sign = "+=" if array.how == "sum" else "="
        code.append(f"{self.name}[{writer.text(at)}] {sign} {writer.text(body)};")
        along = [v for v in space if step_of(at, v) == 1 and alone(at, v)]
        inner = along[-1] if along else None
        rest = [v for v in space if v is not inner]
        return [*found, *nested(rest, innermost(inner, code, simd=True))]


REDUCERS = {"sum": "+", "prod": "*", "max": "max", "min": "min"}


def alone(position: Entry, variable: Entry) -> bool:
    """Tell whether no other part of a position hides the variable."""
    _, parts = terms(position)
    return all(part is variable or variable not in set(walk(part)) for part in parts)


def collecting(name: str, value: str, how: str, ctype: str) -> list[str]:
    """Return the statements that collect a value."""
    if how in ("sum", "prod"):
        return [f"{name} {'+' if how == 'sum' else '*'}= {value};"]
    sign = ">" if how == "max" else "<"
    found = [
        f"const {ctype} value_ = {value};",
        f"{name} = value_ {sign} {name} ? value_ : {name};",
    ]
    return [*found, "nan_ |= value_ != value_;"] if is_float(ctype) else found


def nested(loops: list[Entry], inside: list[str]) -> list[str]:
    """Return lines inside loops."""
    for variable in reversed(loops):
        head = loop_head(variable)
        inside = [f"{head} {{", *indented(inside), "}"]
    return inside


def by_fours(over: list[Entry], body: Entry) -> tuple[list[Entry], Entry]:
    """Take several turns of a sum's last loop at once, so that fewer wait for what is stored."""
    if not over or not is_float(body.ctype):
        return over, body
    variable = over[-1]
    name, size = variable.args
    count = next((c for c in (4, 3, 2) if size % c == 0 and size > c), 1)
    if count == 1:
        return over, body
    turn = var(name, size // count)
    parts = [
        substitute(body, {variable: summed((turn, count), (whole(k), 1))}) for k in range(count)
    ]
    while len(parts) > 1:
        pairs = [apply("add", *parts[k : k + 2]) for k in range(0, len(parts) - 1, 2)]
        parts = pairs + parts[len(pairs) * 2 :]
    return [*over[:-1], turn], parts[0]


def block(lines: list[str], loops: list[Entry]) -> list[str]:
    """Return lines with variables of their own in a block, if no loop makes one."""
    return lines if loops else ["{", *indented(lines), "}"]


def indented(lines: list[str]) -> list[str]:
    """Return lines further in."""
    return ["    " + line for line in lines]


def innermost(variable: Entry | None, code: list[str], simd: bool, clause: str = "") -> list[str]:
    """Return lines inside the innermost loop, which the compiler may run several turns at once."""
    if variable is None:
        return ["{", *("    " + line for line in code), "}"] if len(code) > 1 else code
    pragma = [f"#pragma omp simd {clause}".rstrip()] if simd else []
    return [*pragma, *nested([variable], code)]


def in_vectors(variable: Entry, code: list[str], unit: int) -> list[str]:
    """Return lines inside a loop of whole vectors; the last writes again what the one before did.

    A compiler does what is left of a loop one by one, which may take longer than all the vectors.
    """
    name, size = variable.args
    last = size - unit
    return [
        f"for (int at_ = 0; at_ < {size}; at_ += {unit}) {{",
        f"    const int from_ = at_ < {last} ? at_ : {last};",
        "    #pragma omp simd",
        f"    for (int {name} = from_; {name} < from_ + {unit}; {name}++) {{",
        *indented(indented(code)),
        "    }",
        "}",
    ]


def loop_head(variable: Entry) -> str:
    """Return the head of a loop."""
    name, size = variable.args
    return f"for (int {name} = 0; {name} < {size}; {name}++)"
