"""Why each backward line has its form, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handgrad.derive import Backward, BackwardLine, Contribution, Passage
from handgrad.errors import must_be
from handgrad.ops.declare import needs

MOST_TOLD = 10  # contributions, in one sentence


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
    """Pair each backward line with its reason.

    Raises:
        BadInput: it is no backward pass.
    """
    must_be(backward, Backward, "hg.explain(hg.derive(hg.trace(forward, *args)))")
    return tuple(
        Reason(each.line.text, because(each, backward), backward.trace.lines[each.forward].text)
        for each in backward.lines
    )


def because(each: BackwardLine, backward: Backward) -> str:
    """Return the reason for one line."""
    many = len(each.contributions)
    if not each.primal:
        if many:
            return f"Here {many} contributions add; there are too many of them for one line."
        return "A line below needs this part more than once, or would be long without its name."
    name = each.primal
    known = backward.trace.values
    if many == 1:
        return sentence(clauses(each.contributions[0], name), known)
    count = {2: "twice", 3: "three times"}.get(many, f"{many} times")
    told = [f"through {c.via}, {clauses(c, name)}" for c in each.contributions[:MOST_TOLD]]
    if many > MOST_TOLD:
        told.append(f"and {many - MOST_TOLD} more")
    return sentence(f"{name} is used {count}, so its contributions add: {'; '.join(told)}", known)


def clauses(contribution: Contribution, name: str) -> str:
    """Return why one contribution has its form, from the ops that it passes."""
    told = [
        clause(p, name if p is contribution.passages[-1] else "") for p in contribution.passages
    ]
    told = [text for text in dict.fromkeys(told) if text]
    return ", then ".join(told) if told else "it is passed on as it is"


def unchanged(passage: Passage) -> bool:
    """Tell whether a gradient passes an op as it is, as it does a term of a sum."""
    rule = passage.op.rules.get(passage.param)
    additive = passage.op.additive and rule is not None and len(needs(rule)) == 1
    return additive and rule is not None and rule(1.0) == 1.0


def clause(passage: Passage, name: str) -> str:
    """Return why the gradient changes as it passes one op; empty where it does not."""
    why = "" if unchanged(passage) else passage.op.why.get(passage.param, "")
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
    places = "rows" if passage.summed == (0,) else "places"
    return f"{who} was broadcast over the {times} {places} of {dims}, so it is summed there"


def sentence(text: str, names: Iterable[str]) -> str:
    """Return a text as a sentence; a name at its start keeps its small letter."""
    first = text.split(" ", 1)[0]
    return (text if first in names else text[:1].upper() + text[1:]) + "."
