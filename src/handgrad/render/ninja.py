"""The journey in words: for each exercise a heading, what one sees, and the thing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from handgrad.check import Row, Verdict
from handgrad.emit import listing
from handgrad.emit.pytorch import written
from handgrad.ninja import Exercise, Form, InOneGo, Journey, LineByLine, Plan, Setup, Trained
from handgrad.render.blocks import Block, Code, Columns, Heading, Paragraph, Picture
from handgrad.render.plain import derivation
from handgrad.render.words import bracketed, counted, in_short
from handgrad.simplify.steps import checked
from handgrad.train import Race, Training

SUBJECT = {"dlogits": (2, "Cross-entropy"), "dhprebn": (3, "Batch norm")}


def report(journey: Journey) -> list[Block]:
    """Return the whole journey."""
    parts: list[Exercise] = [
        journey.setup,
        journey.line_by_line,
        journey.cross_entropy,
        journey.batch_norm,
        journey.plan,
        journey.trained,
    ]
    blocks = [block for part in parts for block in exercise(part)]
    place = blocks.index(last_heading(blocks)) + 2
    curve = Picture("loss.png", "The loss during training")
    about = Paragraph(f"Written by handgrad; seed {journey.setup.seed}.")
    return [blocks[0], about, *blocks[1:place], curve, *blocks[place:]]


def last_heading(blocks: Iterable[Block]) -> Heading:
    """Return the last heading."""
    return [block for block in blocks if isinstance(block, Heading)][-1]


def exercise(result: Exercise) -> list[Block]:
    """Return one part of the journey."""
    match result:
        case Setup():
            return start(result)
        case LineByLine():
            return line_by_line(result)
        case InOneGo():
            return in_one_go(result)
        case Plan():
            return plan(result)
        case Trained():
            return trained(result)


def start(setup: Setup) -> list[Block]:
    """Return the title, the data and the network."""
    sizes = {name: len(X) for name, (X, _) in setup.parts.items()}
    total = sum(tensor.numel() for tensor in setup.parameters.values())
    return [
        Heading("Becoming a backprop ninja", 1),
        Paragraph(
            f"{len(setup.words):,} words ({setup.source}), {len(setup.vocabulary)} characters with "
            f"the dot that ends a word: {sizes['train']:,} examples to train on, "
            f"{sizes['validation']:,} to validate, {sizes['test']:,} to test. A network of "
            f"{total:,} parameters guesses the next character from the last three."
        ),
    ]


def line_by_line(result: LineByLine) -> list[Block]:
    """Return exercise 1: shapes, the derived lines, every gradient compared."""
    forward, rows = result.trace.lines, result.report.rows
    exact = sum(row.exact for row in rows)
    wrong = sum(not row.verdict.good for row in rows)
    verdict = f"{wrong} of {len(rows)} are NOT right" if wrong else f"All {len(rows)} are right"
    return [
        Heading("1. Through every line"),
        Paragraph(
            f"One batch of {result.trace.values['Xb'].shape[0]} examples, in {len(forward)} lines "
            "from characters to loss; each line with the shape of what it makes."
        ),
        shapes(result),
        Paragraph(
            f"The way back, written by handgrad: {counted(len(result.backward.lines), 'line')}, "
            "each group below the forward line that it takes the gradient through."
        ),
        Code(listing(result.backward)),
        Paragraph("Each gradient beside autograd's, for every variable and parameter."),
        compared(rows),
        Paragraph(f"{verdict}, {exact} of them to the last bit.{because(rows)}", bool(wrong)),
    ]


def because(rows: Sequence[Row]) -> str:
    """Return why the last bits differ from some row on, where that is known."""
    first = next((row.name for row in rows if not row.exact), "")
    if first != "dhpreact":
        return ""
    return (
        " From dhpreact on the last bits differ, because PyTorch's kernel for tanh rounds once "
        "where two operations round twice."
    )


def shapes(result: LineByLine) -> Columns:
    """Return the forward lines with what they make."""
    rows = tuple(
        (row.line, bracketed(row.makes[0][1]), f"{row.parameters:,}" if row.parameters else "")
        for row in result.trace.shapes()
    )
    return Columns(("line", "makes", "parameters"), rows, right=(2,), code=(0,))


def compared(rows: Iterable[Row]) -> Columns:
    """Return a row for each gradient, as `cmp` has it, with its shape and its verdict."""
    heads = ("gradient", "shape", "exact", "approx", "maxdiff", "verdict")
    body = tuple(
        (
            row.name,
            bracketed(row.shape or ()),
            str(row.exact),
            str(row.approximate),
            f"{row.maxdiff:.1e}" if row.maxdiff else "0",
            word(row.verdict),
        )
        for row in rows
    )
    return Columns(heads, body, right=(4,), code=(0,))


def word(verdict: Verdict) -> str:
    """Return a verdict, marked where it is not a good one."""
    return verdict.value if verdict.good else f"{verdict.value} !"


def in_one_go(result: InOneGo) -> list[Block]:
    """Return exercise 2 or 3: the short form, its comparison, the way there."""
    number, subject = SUBJECT[result.wanted]
    blocks: list[Block] = [
        Heading(f"{number}. {subject} in one go"),
        Paragraph(
            f"{len(result.replaces)} small steps lead to {result.wanted}: "
            f"{', '.join(result.replaces)}. Put together and simplified, they are "
            f"{counted(len(result.form.lines), 'line')}:"
        ),
        code(result.form),
        compared((result.form.row,)),
        Paragraph(
            "The way there, each small step with the facts that it uses. Of a file of these lines, "
            f"`handgrad simplify FILE --steps` shows all {len(result.steps)} steps. "
            f"{checked(result.steps)}"
        ),
        Code(derivation(in_short(result.steps)).rstrip()),
    ]
    if result.library:
        blocks += [
            Paragraph(
                "PyTorch's own function divides by n where the exercise divides by n - 1. "
                "Derived from it, beside autograd's:"
            ),
            code(result.library),
            compared((result.library.row,)),
        ]
    return blocks


def code(form: Form) -> Code:
    """Return forward lines, as comments, above the lines of their backward pass."""
    comments = [f"# {text}" for text in form.forward]
    return Code("\n".join([*comments, *(written(each) for each in form.lines)]))


def plan(result: Plan) -> list[Block]:
    """Return what exercise 4 is about to do."""
    told = (
        f"{counted(result.steps, 'step')} of {result.batch} examples at learning rate 0.1, "
        "from the middle on 0.01"
    )
    twice = "from the same start on the same batches"
    if result.backend == "native":
        told += f", in native code made from the derived lines. The first {result.raced:,}"
        told += f" are done by autograd too, {twice}, in turn."
    else:
        told += f". Every step is done twice, {twice}: by the derived lines with autograd off, "
        told += "and by autograd."
    noted = [Paragraph(f"{result.note}.", warning=True)] if result.note else []
    return [Heading("4. Training by these gradients"), *noted, Paragraph(told)]


def trained(result: Trained) -> list[Block]:
    """Return exercise 4: the race, the losses, the names, the size of the updates."""
    run = result.training
    blocks: list[Block] = []
    if run.stopped:
        blocks.append(Paragraph(ended(run), warning=True))
    if run.race:
        said = natively_raced if result.backend == "native" else raced
        blocks.append(Paragraph(said(run.race, run)))
    blocks += [
        Paragraph("The mean loss, with batch norm calibrated over all the training examples:"),
        losses(result),
        *names(result),
        Paragraph(
            "How large the updates are beside their parameters: log10 of the ratio of their "
            "standard deviations, the median over the steps. About -3 is healthy." + useless(run)
        ),
        ratios(run),
    ]
    return blocks


def ended(run: Training) -> str:
    """Return why training ended early, and what is shown all the same."""
    why = "Stopped by Ctrl-C" if run.stopped == "interrupted" else f"Stopped: {run.stopped}"
    return f"{why} after {len(run.losses):,} of {run.steps:,} steps; all below is of these."


def natively_raced(race: Race, run: Training) -> str:
    """Return how long all steps took, and the race of the first of them."""
    steps = len(run.losses)
    told = f"{counted(steps, 'step')} took {timed(run.seconds)} in native code. "
    if not race.steps or not race.seconds:
        return told.strip()
    told += (
        f"Of the first {race.steps:,} autograd's took {timed(race.rival_seconds)} and the native "
        f"ones {timed(race.seconds)}: {race.rival_seconds / race.seconds:.0f} times as long. "
    )
    if steps > race.steps:
        told += f"At its speed all {steps:,} would take "
        told += f"{timed(race.rival_seconds / race.steps * steps)}. "
    return told + (
        "The largest difference between the two networks' parameters after the last of them is "
        f"{race.difference:.1e} (in {race.parameter})."
    )


def raced(race: Race, run: Training) -> str:
    """Return who was faster, and how far apart the two ended."""
    return (
        f"{counted(len(run.losses), 'step')} took {timed(race.seconds)} by the derived lines, "
        f"{timed(race.rival_seconds)} by autograd. The largest difference between the two "
        f"networks' parameters after the last step is {race.difference:.1e} (in {race.parameter})."
    )


def timed(seconds: float) -> str:
    """Return seconds to three figures or so."""
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.3g} s"


def losses(result: Trained) -> Columns:
    """Return the loss of each part of the data."""
    row = tuple("no examples" if loss is None else f"{loss:.4f}" for loss in result.losses.values())
    return Columns(tuple(result.losses), (row,), right=tuple(range(len(row))))


def names(result: Trained) -> list[Block]:
    """Return the sampled words, and how many of them are new."""
    if not result.samples:
        return [Paragraph("No samples: the parameters are not finite.", warning=True)]
    fresh = len(result.samples) - sum(result.known)
    return [
        Paragraph(
            f"{len(result.samples)} words sampled from the network, {fresh} of them not in the "
            "data:"
        ),
        Paragraph(", ".join(word or "(empty)" for word in result.samples)),
    ]


def useless(run: Training) -> str:
    """Return why b1 hardly moves, if that is what was measured."""
    found = run.ratios.get("b1", ())
    if not found or median(found) > -6:
        return ""
    return " Batch norm takes b1 out again, so its gradient is zero but for rounding."


def ratios(run: Training) -> Columns:
    """Return the ratios of each parameter, for both learning rates."""
    first = [step <= run.steps / 2 for step in run.ratio_steps]
    rows = tuple(
        (name, middle(found, first, True), middle(found, first, False))
        for name, found in run.ratios.items()
    )
    heads = ("parameter", "at rate 0.1", "at rate 0.01")
    return Columns(heads, rows, right=(1, 2), code=(0,))


def middle(found: Iterable[float], first: Iterable[bool], wanted: bool) -> str:
    """Return the median of one half: a dash without any, `none` if nothing moved."""
    chosen = [value for value, early in zip(found, first, strict=True) if early is wanted]
    if not chosen:
        return "-"
    value = median(chosen)
    return f"{value:.2f}" if math.isfinite(value) else "none"
