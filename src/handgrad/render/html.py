"""Results as small self-contained HTML tables, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as in_html

from handgrad.derive import Backward
from handgrad.escape import escaped
from handgrad.render.plain import one_line
from handgrad.render.words import bracketed, by_line, counted, leaves, tensor, totals
from handgrad.simplify import Simplified
from handgrad.trace import Trace

CELL = "text-align:left;vertical-align:top;padding:1px 12px 1px 0"
MONO = "font-family:monospace;white-space:pre"
QUIET = "opacity:.6"


def trace_html(trace: Trace) -> str:
    """Return the leaves, then each forward line with what it makes and reads."""
    tops = [
        [mono(name), mono(bracketed(shape)), dtype, f"{entries:,}"]
        for (name, shape, dtype), entries in leaves(trace)
    ]
    rows = [
        [
            mono(row.line),
            mono("\n".join(map(tensor, row.makes))),
            mono("\n".join(map(tensor, row.reads))),
            f"{row.parameters:,}" if row.parameters else "",
        ]
        for row in trace.shapes()
    ]
    return (
        table(("leaf", "shape", "dtype", "parameters"), tops)
        + table(("line", "makes", "reads", "parameters"), rows)
        + f"<p>{escape(totals(trace))}</p>"
    )


def backward_html(backward: Backward) -> str:
    """Return the backward lines with their shapes, each group under its forward line."""
    rows, group = [], -1
    for each in backward.lines:
        if each.forward != group:
            group = each.forward
            rows.append([mono(f"# {one_line(backward.trace.lines[group].text)}", QUIET), ""])
        rows.append([mono(each.line.text), mono(bracketed(each.shape), QUIET)])
    about = f"{counted(len(backward.lines), 'line')}; every gradient equals autograd's"
    return table(("backward pass", "shape"), rows) + f"<p>{escape(about)}</p>"


def simplified_html(result: Simplified) -> str:
    """Return the short lines with their shapes; the steps to them open at a click."""
    rows = []
    for many in by_line(result.steps):
        rows.append([mono(many[0].before), ""])
        rows += [
            [mono(f"  = {step.after.partition(' = ')[2]}"), escape(step.because)] for step in many
        ]
    about = f"{len(result.before.lines)} lines became {len(result.lines)}; the steps"
    steps = table(("line", "because"), rows)
    return backward_html(result) + f"<details><summary>{escape(about)}</summary>{steps}</details>"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the cells are HTML already."""
    head = "".join(f'<th style="{CELL}">{escape(text)}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{cell}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def escape(text: str) -> str:
    """Return text for a page: no part of it is markup, or turns what stands beside it."""
    return in_html(escaped(text))


def mono(text: str, style: str = "") -> str:
    """Return text as code, escaped."""
    return f'<code style="{MONO};{style}">{escape(text)}</code>'
