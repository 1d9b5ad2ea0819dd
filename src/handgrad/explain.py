"""Why each backward line has its form, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from handgrad.derive import Backward, BackwardLine, Contribution, Passage


@dataclass(frozen=True)
class Reason:
    """A backward line and the reason for it.

    Attributes:
        line: the backward line.
        because: one sentence.
        forward: the forward line that it belongs to.
    """

    line: str
    because: str
    forward: str


def explain(backward: Backward) -> tuple[Reason, ...]:
    """Pair each backward line with its reason."""
    return tuple(
        Reason(each.line.text, because(each, backward), backward.trace.lines[each.forward].text)
        for each in backward.lines
    )


def because(each: BackwardLine, backward: Backward) -> str:
    """Return the reason for one line."""
    if not each.primal:
        return "It has a name because more than one line needs it."
    name = each.primal
    paths = [clauses(c, name) for c in each.contributions]
    if len(paths) == 1:
        return sentence(paths[0])
    users = readers(name, backward)
    count = {2: "twice", 3: "three times"}.get(len(paths), f"{len(paths)} times")
    where = f" (in {', '.join(users)})" if users else ""
    told = "; ".join(dict.fromkeys(paths))
    return sentence(f"{name} is used {count}{where}, so its contributions add: {told}")


def readers(name: str, backward: Backward) -> list[str]:
    """Return the names of the forward lines that read a name."""
    from handgrad.ir import names

    return [line.target for line in backward.trace.lines if name in names(line.expr)]


def clauses(contribution: Contribution, name: str) -> str:
    """Return why one contribution has its form, from the ops that it passes."""
    told = [
        clause(p, name if p is contribution.passages[-1] else "") for p in contribution.passages
    ]
    told = [text for text in dict.fromkeys(told) if text]
    return ", then ".join(told) if told else "a sum passes its gradient on as it is"


def clause(passage: Passage, name: str) -> str:
    """Return why the gradient changes as it passes one op; empty where it does not."""
    why = passage.op.why.get(passage.param, "")
    if not why and passage.op.foreign:
        why = f"{passage.op.name} has no rule, so autograd is asked for this op alone"
    parts = [why, summed(passage, name)]
    return "; ".join(part for part in parts if part)


def summed(passage: Passage, name: str) -> str:
    """Return why axes are summed: the operand was stretched along them."""
    if not passage.summed:
        return ""
    who = f"{name} {list(passage.shape)}" if name else f"an operand of shape {list(passage.shape)}"
    times = " and ".join(f"{passage.result[axis]}" for axis in passage.summed)
    dims = " and ".join(f"dim {axis}" for axis in passage.summed)
    return f"{who} was broadcast over the {times} places of {dims}, so its gradient is summed there"


def sentence(text: str) -> str:
    """Return a text as a sentence."""
    return text + "."
