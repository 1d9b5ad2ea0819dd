"""From a traced program to a plan, and the key that a plan is kept under."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from handgrad.derive import Backward, derive
from handgrad.errors import BadInput, HandgradError
from handgrad.ir import Arg, Call, Item, Name, Static
from handgrad.native import kept, plans
from handgrad.native.forms import Form
from handgrad.native.lower.budget import CannotLower
from handgrad.native.lower.stages import ordered
from handgrad.native.lower.step import Step, lower_step
from handgrad.native.lower.tree import walk
from handgrad.native.lower.update import Rule
from handgrad.native.plans import Plan
from handgrad.native.starts import is_ours
from handgrad.native.write.unit import write_unit
from handgrad.trace import Trace, trace

if TYPE_CHECKING:
    from handgrad.native.asked import Asked

FORMAT = "2"  # changes when what is kept does
BROKEN = "making native code went wrong"
SHORT = 80  # backward lines that are simplified unasked


def leaves_of(traced: Trace) -> tuple[str, ...]:
    """Return the names of the parameters that the output depends on."""
    return tuple(name for name in traced.leaves if name in traced.grads)


def trained(traced: Trace) -> tuple[str, ...]:
    """Return the names of the parameters that the caller gave: not what the pass itself marks.

    Raises:
        BadInput: there is none.
    """
    found = tuple(name for name in leaves_of(traced) if name in traced.origins)
    if not found:
        raise BadInput(
            "the loss depends on no parameter that was passed, so a step would train nothing",
            hint="pass what is to be trained as an argument",
        )
    return found


def traced_again(asked: Asked, plan: str) -> Trace:
    """Trace what was compiled without.

    Args:
        asked: what that was.
        plan: the key of the plan that was taken.

    Raises:
        BadInput: it would have another plan by now.
    """
    traced = trace(asked.forward, *asked.args, wrt=asked.wanted, **asked.kwargs)
    rule = Rule(asked.optimiser, asked.clip)
    if key_of(traced, trained(traced), rule, asked.simplified) != plan:
        raise BadInput(
            "the forward pass is no longer what was compiled: its code, or what it reads, changed",
            hint="compile it again: hg.compile(forward, ...)",
        )
    return traced


def in_lines(traced: Trace, simplified: bool | None) -> Backward:
    """Return a backward pass, cut short if that was asked for or does not take long."""
    backward = derive(traced)
    if simplified is False or (simplified is None and len(backward.lines) > SHORT):
        return backward
    from handgrad.simplify import simplify

    try:
        return simplify(backward)
    except HandgradError:
        if simplified:
            raise
        return backward


def planned(backward: Backward, leaves: tuple[str, ...], rule: Rule, key: str) -> Plan:
    """Lower and write a step, and keep what was made.

    Raises:
        CannotLower: a line has no native code, or there is no time left.
    """
    try:
        step = lower_step(backward, leaves, rule)
        unit = write_unit(step, {"loss": step.output})
    except HandgradError:
        raise
    except Exception as error:  # whatever it is, the eager step is right; the note tells it
        raise CannotLower(f"{BROKEN} ({type(error).__name__}: {error})") from error
    inputs = {name: Form(array.shape, array.ctype) for name, array in step.inputs.items()}
    plan = Plan(unit, inputs, step.constants, bounds_of(step))
    plans.keep(key, plan)
    return plan


def bounds_of(step: Step) -> dict[str, int]:
    """Return for each input that is used as an index how many entries it numbers."""
    found: dict[str, int] = {}
    roots = [step.output, *step.gradients.values(), *step.updates.values()]
    for array in ordered(roots):
        for entry in (array.body, *array.places):
            for node in walk(entry) if entry is not None else ():
                if node.op != "wrap" or node.args[0].op != "read":
                    continue
                source, size = node.args[0].args[0], node.args[1]
                if source.kind == "input":
                    found[source.name] = min(size, found.get(source.name, size))
    return found


def key_of(traced: Trace, leaves: tuple[str, ...], rule: Rule, simplified: bool | None) -> str:
    """Return the name that a plan is kept under; empty if the program does not tell it all."""
    if not is_ours(rule.optimiser):
        return ""
    program = traced.program
    facts = [FORMAT, kept.version(), kept.machine(), repr(rule), str(simplified), " ".join(leaves)]
    facts += [repr(n) for n in program.inputs]
    facts += [f"{name} {value!r}" for name, value in sorted(program.scalars.items())]
    facts += [f"{traced.upstream.dtype} {traced.upstream.tolist()}", str(traced.given)]
    for line in (*program.lines, *traced.updates.values()):
        facts += [*line.targets, line.text, str(line.differentiable), *spelled(line.expr)]
    text = "\0".join([*facts, program.output])
    # an address or a long tensor does not tell what it stands for
    return "" if " at 0x" in text or "..." in text else kept.hashed(text)


def spelled(arg: Arg) -> Iterator[str]:
    """Yield what an argument is made of."""
    if isinstance(arg, tuple):
        yield "("
        for part in arg:
            yield from spelled(part)
        yield ")"
    elif isinstance(arg, Static):
        yield f"{type(arg.value).__name__} {arg.value!r} {arg.text}"
    elif isinstance(arg, Name):
        yield repr(arg)
    elif isinstance(arg, Item):
        yield f"item {arg.position}"
        yield from spelled(arg.call)
    else:
        yield from spelled_call(arg)


def spelled_call(call: Call) -> Iterator[str]:
    """Yield what a call is made of."""
    foreign = " at 0x" if call.op.foreign else ""
    yield f"{call.op.name} {call.outputs} {call.constant}{foreign}"
    for name, arg in call.args.items():
        yield name
        yield from spelled(arg)
