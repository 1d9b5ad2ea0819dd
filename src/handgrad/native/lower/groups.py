"""Stages grouped into functions: those that share their outer loop run block by block in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from handgrad.native.lower.array import SIZES, Array, depends
from handgrad.native.lower.budget import spend
from handgrad.native.lower.expr import Entry, axes_of, var
from handgrad.native.lower.order import Before, in_order
from handgrad.native.lower.stages import Stage

NEAR = 24 * 1024  # bytes that a turn of an outer loop may work on: most of the nearest cache
SECOND = 256 * 1024  # bytes that the next cache holds
STACK = 512 * 1024  # bytes of a function's own arrays
WIDE = 64  # bytes of the widest vector: blocks of a last axis are whole vectors
ROWS = 8  # blocks of other axes have at most so many places
FEWEST = 4  # and at least so many where they are the rows of products


@dataclass(frozen=True)
class Member:
    """A stage in a group.

    Attributes:
        outer: the stage's variable that the group's loop runs over, None where there is no loop.
        collects: that variable is collected over, so the result is ready after the loop.
    """

    stage: Stage
    outer: Entry | None = None
    collects: bool = False

    @property
    def axis(self) -> int:
        """Return the axis of the result that the loop runs over."""
        return axes_of(self.stage.array.shape).index(self.outer)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Group:
    """Stages of one function.

    Attributes:
        size: how far the outer loop runs; 0 without one.
        block: how many of its places a turn takes.
        local: arrays that stand on the stack, with the axis that the loop runs over.
        alone: arrays that no other group reads.
    """

    members: tuple[Member, ...]
    size: int = 0
    block: int = 0
    local: Mapping[Array, int] = field(default_factory=dict)
    alone: frozenset[Array] = frozenset()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages in order."""
        return tuple(member.stage for member in self.members)


def grouped(stages: list[Stage], loss: Array, roots: set[Array]) -> list[Group]:
    """Return the groups, in an order that respects what reads what.

    Args:
        stages: in an order that respects what reads what.
        loss: what must be known before anything is overwritten.
        roots: arrays that are read from outside.
    """
    stages, before = in_order(stages, loss)
    return Grouping(stages, before, loss, roots).run(stages)


class Grouping:
    """Stages on their way into groups."""

    def __init__(self, stages: list[Stage], before: Before, loss: Array, roots: set[Array]) -> None:
        self.before = before
        self.loss, self.roots = loss, roots
        self.readers: dict[Array, set[Stage]] = {}
        for stage in stages:
            for array in stage.sources:
                self.readers.setdefault(array, set()).add(stage)
        self.done: set[Stage] = set()
        self.partner = self.partners(stages)
        self.known: dict[Stage, tuple[float, list[Member]]] = {}

    def run(self, left: list[Stage]) -> list[Group]:
        """Return the groups of stages, which depend on nothing that is still to do."""
        found: list[Group] = []
        while left:
            best = self.best(left)
            mine = {member.stage for member in best}
            needed = self.needed(mine, left)
            rest = [s for s in left if s not in mine]
            found += self.run([s for s in rest if s in needed])
            self.done |= mine
            found.append(self.group(best))
            left = [s for s in rest if s not in needed]
        return found

    def best(self, left: list[Stage]) -> list[Member]:
        """Return the group that saves most, else the first stage that may run."""
        spend()
        remaining = set(left)
        found: tuple[float, list[Member]] = (0.0, [])
        for place, stage in enumerate(left):
            known = self.known.get(stage)
            if known is None or not {m.stage for m in known[1]} <= remaining:
                known = max(
                    ((self.gain(c), c) for c in self.candidates(stage, left[place:])),
                    key=lambda pair: pair[0],
                    default=(0.0, [Member(stage)]),
                )
                self.known[stage] = known
            if known[0] > found[0]:
                found = known
        if found[0] > 0:
            return found[1]
        return [Member(next(s for s in left if self.before[s] <= self.done))]

    def needed(self, mine: set[Stage], left: list[Stage]) -> set[Stage]:
        """Return the stages outside a group that it waits for."""
        found: set[Stage] = set()
        stack = list(mine)
        while stack:
            for stage in self.before[stack.pop()]:
                if stage not in mine and stage not in found and stage not in self.done:
                    found.add(stage)
                    stack.append(stage)
        return found

    def candidates(self, first: Stage, left: list[Stage]) -> Iterator[list[Member]]:
        """Yield the groups that begin with a stage, one for each axis of the loop."""
        if first.array.kind == "scatter" or first.array.kind == "scan":
            return
        for variable in axes_of(first.array.shape):
            if variable.op == "var":
                yield self.extended(Member(first, variable), left)

    def extended(self, first: Member, left: list[Stage]) -> list[Member]:
        """Return a group with every stage that may join it."""
        members = {first.stage: first}
        blocked: set[Stage] = set()
        size = first.outer.args[1] if first.outer else 0
        for stage in left:
            if stage in members:
                continue
            before = self.before[stage]
            if before & blocked:
                blocked.add(stage)
            elif before & members.keys():
                member = None if self.too_soon(stage, members) else joined(stage, members, size)
                if member is None:
                    blocked.add(stage)
                else:
                    members[stage] = member
        return self.complete(list(members.values()))

    def partners(self, stages: list[Stage]) -> dict[Stage, Stage]:
        """Return for each product that a single update reads that update.

        Made together, the product's sums are never stored.
        """
        found: dict[Stage, Stage] = {}
        for stage in stages:
            users = self.readers.get(stage.array, set())
            if is_product(stage) and stage.array not in self.roots and len(users) == 1:
                (user,) = users
                if user.into and user.array.kind == "map":
                    found[stage] = user
        return found

    def complete(self, members: list[Member]) -> list[Member]:
        """Return a group without the products whose update cannot be in it."""
        mine = {member.stage for member in members}
        return [
            member
            for place, member in enumerate(members)
            if place == 0 or self.partner.get(member.stage, member.stage) in mine
        ]

    def too_soon(self, stage: Stage, members: Mapping[Stage, Member]) -> bool:
        """Tell whether a stage overwrites an input while the loss is not known."""
        return bool(stage.into) and any(s.array is self.loss for s in members)

    def gain(self, members: list[Member]) -> float:
        """Return the bytes that need not be read again when these stages run together.

        What a turn reads whole, whichever turn it is, is read again at every turn.
        """
        own = {m.stage.array for m in members if not m.collects}
        turns = turns_of(members)
        found = 0.0
        for member in members:
            for array in member.stage.sources & own:
                found += array.numel * SIZES[array.ctype]
            for array in again(member, own):
                found -= (turns - 1) * array.numel * SIZES[array.ctype]
        return found

    def group(self, members: list[Member]) -> Group:
        """Return a group with the size of its blocks and the arrays that it keeps to itself."""
        first = members[0]
        if first.outer is None or len(members) == 1:
            return Group((Member(first.stage),))
        stages = {member.stage for member in members}
        local = {
            m.stage.array: m.axis
            for m in members
            if not m.collects
            and not m.stage.into
            and m.stage.array not in self.roots
            and self.readers.get(m.stage.array, set()) <= stages
        }
        size = first.outer.args[1]
        block = block_of(members, local, size)
        if sum(a.numel // size * block * SIZES[a.ctype] for a in local) > STACK:
            return Group(tuple(Member(m.stage) for m in members), alone=frozenset(local))
        return Group(tuple(members), size, block, local, frozenset(local))


def turns_of(members: list[Member]) -> float:
    """Return about how many turns the loop of a group takes."""
    first = members[0]
    if first.outer is None:
        return 1
    along = first.axis == first.stage.array.ndim - 1
    return max(1.0, first.outer.args[1] / (5 * ROWS if along else ROWS))


def again(member: Member, own: set[Array]) -> set[Array]:
    """Return the arrays that a member reads whole at every turn."""
    if member.outer is None:
        return set()
    reads = [read for read in member.stage.reads if read.args[0] not in own]
    return {r.args[0] for r in reads if not any(depends(i, member.outer) for i in r.args[1])}


def joined(stage: Stage, members: Mapping[Stage, Member], size: int) -> Member | None:
    """Return a stage as a member, if it reads what the group makes at the loop's own place only."""
    made = {member.stage.array: member for member in members.values()}
    if stage.array.kind in ("scatter", "scan") or stage.array.how.startswith("arg"):
        own = {v for v in axes_of(stage.array.shape) if v.op == "var"}
        if stage.array.kind != "reduce":
            return None
    else:
        over = [var(f"r{k}", n) for k, n in enumerate(stage.array.over)]
        own = {v for v in (*axes_of(stage.array.shape), *over) if v.op == "var"}
    outer: Entry | None = None
    for read in stage.reads:
        maker = made.get(read.args[0])
        if maker is None:
            continue
        if maker.collects:
            return None
        here = read.args[1][maker.axis]
        if here not in own or here.args[1] != size or (outer is not None and here is not outer):
            return None
        outer = here
    if outer is not None and outer.args[0].startswith("r") and is_product(stage):
        return None  # it would add to the whole result again at every turn
    if outer is None or not overwrites_in_turn(stage, outer, members):
        return None
    return Member(stage, outer, collects=outer.args[0].startswith("r"))


def is_product(stage: Stage) -> bool:
    """Tell whether a stage sums products of two reads."""
    body = stage.body
    return body.op == "mul" and all(a.op == "read" for a in body.args) and stage.array.ndim > 1


def overwrites_in_turn(stage: Stage, outer: Entry, members: Mapping[Stage, Member]) -> bool:
    """Tell whether what a stage overwrites is read by the group at the loop's own place only."""
    if not stage.into:
        return True
    if outer.args[0].startswith("r"):
        return False
    axis = axes_of(stage.array.shape).index(outer)
    for member in members.values():
        for read in member.stage.reads:
            if read.args[0].name == stage.into and read.args[1][axis] is not member.outer:
                return False
    return True


def flat_product(member: Member) -> bool:
    """Tell whether a member is a product with one row at each place: a tile wants several."""
    return is_product(member.stage) and member.stage.array.ndim == 2 and not member.collects


def block_of(members: list[Member], local: Mapping[Array, int], size: int) -> int:
    """Return how many places a turn takes: whole vectors along memory, few rows across it."""
    kept = [m for m in members if not m.collects]
    along = any(m.axis == m.stage.array.ndim - 1 for m in kept if m.stage.array.ndim > 1)
    bytes_each = sum(m.stage.array.numel // size * SIZES[m.stage.array.ctype] for m in kept)
    bytes_each = max(bytes_each, 1)
    if bytes_each * size <= NEAR and not any(m.stage.array.ndim > 1 for m in members):
        return size
    if not along:
        fits = FEWEST * bytes_each <= SECOND and any(flat_product(m) for m in members)
        least = FEWEST if fits else 1
        most = min(ROWS, max(least, NEAR // bytes_each))
        return max(d for d in range(1, most + 1) if size % d == 0)
    unit = 8
    most = max(unit, NEAR // bytes_each)
    fits = [d for d in range(unit, size + 1, unit) if size % d == 0 and d <= most]
    return max(fits, default=size)
