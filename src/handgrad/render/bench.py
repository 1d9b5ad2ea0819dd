"""The benchmark in words, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from handgrad.bench.paired import Spread
from handgrad.bench.rivals import NATIVE, RIVALS
from handgrad.bench.run import Bench, Row
from handgrad.render.blocks import Block, Columns, Heading, Paragraph, Picture, as_markdown
from handgrad.render.curve import INK, QUIET, png, sheet, tidy

NAMES = ("bench.md", "bench.png")
COLOURS = ("#1f6feb", "#2da44e", "#bf8700", "#a371f7")
TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
ABOUT = {
    "autograd": "forward pass, `backward()` and `torch.optim.SGD`",
    "by hand": "the derived backward lines in eager PyTorch, autograd off",
    "torch.compile": "those lines with the update, compiled by PyTorch",
    "JAX": "`value_and_grad` in a jitted `lax.scan`",
}


def files(result: Bench, command: str) -> dict[str, bytes]:
    """Return the report and its picture by file name; of no row, the report alone."""
    blocks = report(result)
    about = Paragraph(f"Written by handgrad: `{command}`.")
    text = as_markdown([blocks[0], about, *blocks[1:]])
    pictured = any(row.ratios for row in result.rows)
    found = {NAMES[0]: text.encode()}
    return {**found, NAMES[1]: picture(result)} if pictured else found


def report(result: Bench) -> list[Block]:
    """Return the whole benchmark."""
    blocks: list[Block] = [Heading("Training steps, native beside others", 1)]
    blocks += [Paragraph(on(result.machine)), *table(result), *read(result)]
    blocks += [Paragraph(note) for note in result.notes]
    for row in result.rows:
        blocks += [Paragraph(text) for text in peak(row)]
        blocks += [
            Paragraph(f"{row.model}, batch {row.batch}: no {name}: {why}")
            for name, why in row.absent.items()
        ]
    if result.stopped:
        blocks.append(Paragraph("Stopped by Ctrl-C; the rows above are whole.", warning=True))
    if any(row.ratios for row in result.rows):
        blocks.append(Picture(NAMES[1], "How many times as long as native the others take"))
    return blocks


def on(machine: Mapping[str, Any]) -> str:
    """Say what the figures were taken on."""
    versions = [f"{name} {machine[name]}" for name in ("python", "torch", "jax") if name in machine]
    parts = [
        f"One thread of {machine['cores']} x {machine['processor']} ({machine['vectors']}, "
        f"{machine['system']})",
        machine["compiler"] if machine["compiler"] != "none" else "no C compiler",
        ", ".join(versions),
    ]
    busy = f" Load average when it began: {machine['load']}." if "load" in machine else ""
    return "; ".join(parts) + "." + busy


def table(result: Bench) -> list[Block]:
    """Return a row for each case."""
    others = [n for n in RIVALS if n != NATIVE and any(n in row.seconds for row in result.rows)]
    heads = ("model", "batch", "native", *others)
    rows = tuple(
        (row.model, str(row.batch), own(row), *(other(row, name) for name in others))
        for row in result.rows
    )
    return [Columns(heads, rows, right=tuple(range(1, len(heads))))] if rows else []


def own(row: Row) -> str:
    """Return how long a native step takes."""
    return duration(row.seconds[NATIVE].middle) if NATIVE in row.seconds else "-"


def other(row: Row, name: str) -> str:
    """Return how many times as long as a native step another takes, or how long without one."""
    if name in row.ratios:
        return f"{times(row.ratios[name])}{' !' if row.ratios[name].middle < 1 else ''}"
    return duration(row.seconds[name].middle) if name in row.seconds else "-"


def times(ratio: Spread) -> str:
    """Return a ratio with its spread."""
    return f"{short(ratio.middle)} ({short(ratio.low)}-{short(ratio.high)})"


def short(number: float) -> str:
    """Return a number to two figures or so."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 2 else f"{number:.2f}"


def duration(seconds: float) -> str:
    """Return a short time."""
    micro = seconds * 1e6
    return f"{micro:,.0f} µs" if micro >= 100 else f"{micro:.1f} µs"


def read(result: Bench) -> list[Block]:
    """Say how to read the table."""
    if not result.rows:
        return []
    there = [name for name in ABOUT if any(name in row.seconds for row in result.rows)]
    told = "; ".join(f"{name}: {ABOUT[name]}" for name in there)
    return [
        Paragraph(
            "native: microseconds a step (batch drawn, forward, backward, SGD), the median over "
            f"at most {result.rounds} rounds. The others: how many times as long they take, the "
            "median of the rounds' ratios with 10 and 90 % of them; ! marks who is faster than "
            f"native. Each works a short block in turn. {told}."
        )
    ]


def peak(row: Row) -> Iterable[str]:
    """Say what share of the processor's peak was reached."""
    if row.peak and row.reached:
        low, middle, high = (
            round(100 * share) for share in (row.reached.low, row.reached.middle, row.reached.high)
        )
        yield (
            f"{row.model}, batch {row.batch}: multiply-adds alone ran at "
            f"{row.peak.middle / 1e9:.0f} GFLOP/s between the steps; at 2.19 MFLOP a step native "
            f"reaches {middle} % of that ({low}-{high} %)."
        )


def picture(result: Bench) -> bytes:
    """Return the ratios as bars, as a PNG."""
    rows = [row for row in result.rows if row.ratios]
    names = [n for n in RIVALS if any(n in row.ratios for row in rows)]
    figure, axes = sheet()
    figure.set_size_inches(8, 1.6 + 0.22 * len(rows) * (len(names) + 1))
    thick = 0.8 / len(names)
    for place, name in enumerate(names):
        found = [(at, row.ratios[name]) for at, row in enumerate(rows) if name in row.ratios]
        middles = [ratio.middle for _, ratio in found]
        axes.barh(
            [at + (place - (len(names) - 1) / 2) * thick for at, _ in found],
            [middle - 1 for middle in middles],
            left=1,
            height=thick * 0.9,
            color=COLOURS[place],
            label=name,
            xerr=[
                [ratio.middle - ratio.low for _, ratio in found],
                [ratio.high - ratio.middle for _, ratio in found],
            ],
            error_kw={"ecolor": QUIET, "elinewidth": 0.8},
        )
    scale(axes, rows)
    tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    figure.legend(loc="outside lower center", ncols=len(names), frameon=False, labelcolor=INK)
    return png(figure)


def scale(axes: Any, rows: list[Row]) -> None:
    """Write the cases beside the bars, and ratios below them."""
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=1.0)
    low = min(ratio.low for row in rows for ratio in row.ratios.values())
    high = max(ratio.high for row in rows for ratio in row.ratios.values())
    left, right = min(0.8, low * 0.9), max(2.0, high * 1.15)
    axes.set_xlim(left, right)
    ticks = [tick for tick in TICKS if left <= tick <= right]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [f"{row.model}, batch {row.batch}" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("times as long as native", color=INK)
    axes.set_title("A training step: right of 1, native is faster", loc="left", color=INK)
