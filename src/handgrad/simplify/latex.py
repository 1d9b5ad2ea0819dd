"""The derivation as a LaTeX document, in index notation."""

from __future__ import annotations

import ast
from itertools import groupby

from handgrad.derive import BackwardLine
from handgrad.ir import Expr
from handgrad.simplify.notation import Notation
from handgrad.simplify.program import Reading
from handgrad.simplify.scope import Scope
from handgrad.simplify.steps import Step, checked
from handgrad.simplify.tex import escaped, number

DOCUMENT = r"""\documentclass{article}
%% Written by handgrad; every gradient was compared with autograd's.
\usepackage{amsmath}
\allowdisplaybreaks
\setlength{\textwidth}{17cm}
\setlength{\oddsidemargin}{-0.5cm}
\begin{document}

\section*{The backward pass of %(output)s}

%(about)s

%(parts)s

\subsection*{The result}

\begin{align*}
%(result)s
\end{align*}

\end{document}
"""
ABOUT = (
    r"$L$ is %(what)s. Small letters count along axes; an axis of size 1 has none. "
    r"$\mathbf{1}[\,\cdot\,]$ is 1 where the condition holds, else 0, and $\left|x\right|_{k}$ is "
    r"the size of axis $k$ of $x$, counted from 0; $\left|x\right|$ is the number of its entries. "
    r"%(checked)s"
)


def latex(reading: Reading, lines: tuple[BackwardLine, ...], taken: tuple[Step, ...]) -> str:
    """Return the derivation as a document that needs nothing but amsmath.

    Args:
        reading: what was simplified.
        lines: what it became.
        taken: the steps.
    """
    trace = reading.backward.trace
    writer = Writer(reading, lines)
    steps = tuple(step for step in taken if step.before != step.after)
    parts = [writer.part(list(g)) for _, g in groupby(steps, key=lambda step: step.name)]
    scalar = trace.upstream.ndim == 0
    what = f"the scalar {escaped(trace.output)}" if scalar else "any scalar made of it"
    about = ABOUT % {"what": what, "checked": escaped(checked(steps))}
    result = [writer.equation(each.line.text) for each in lines]
    output = rf"\texttt{{{escaped(trace.output)}}}"
    whole = {"output": output, "about": about, "parts": "\n\n".join(parts)}
    return DOCUMENT % {**whole, "result": " \\\\\n".join(result)}


class Writer:
    """Texts of a derivation as formulas."""

    def __init__(self, reading: Reading, lines: tuple[BackwardLine, ...]) -> None:
        trace, both = reading.backward.trace, (*reading.backward.lines, *lines)
        self.scope = Scope(trace, reading.start, both)
        self.sizes, self.shown = reading.sizes, reading.shown
        taken = {*trace.values, *trace.program.scalars}
        self.notation = Notation(trace.values, taken, self.size)
        self.own = {each.name: each.line.expr for each in both}

    def size(self, expr: Expr, axis: int) -> str:
        """Return the text of the size of an axis."""
        symbol = self.sizes.axes(expr)[axis]
        return self.shown.get(symbol, str(expr.shape[axis]))

    def part(self, steps: list[Step]) -> str:
        """Return one line's steps as a paragraph."""
        name = steps[0].name
        rows = [f"{self.left(name)} &= {self.right(name, steps[0].before)}"]
        for step in steps:
            why = rf"&\qquad\parbox{{0.75\linewidth}}{{\footnotesize {escaped(step.because)}}}"
            rows += [why, f"&= {self.right(name, step.after)}"]
        body = " \\\\\n".join(rows)
        return (
            rf"\paragraph{{\texttt{{{escaped(name)}}}}}"
            + f"\n\\begin{{align*}}\n{body}\n\\end{{align*}}"
        )

    def equation(self, line: str) -> str:
        """Return a line as one row."""
        name = line.partition(" = ")[0]
        return f"{self.left(name)} &= {self.right(name, line)}"

    def left(self, name: str) -> str:
        """Return the entry that a line is about."""
        return self.notation.name(name, self.notation.labels(self.own[name])).text

    def right(self, name: str, line: str) -> str:
        """Return a line's right-hand side at the labels of its left."""
        text = line.partition(" = ")[2]
        at = self.notation.labels(self.own[name])
        self.notation.outer = set(at)
        expr = self.scope.parse(f"({text.replace('.values', '[0]').replace('.indices', '[1]')})")
        if expr is None or expr.ndim > len(at):
            return number(ast.parse(text, mode="eval").body).text
        own = at[len(at) - expr.ndim :]
        return self.notation.entry(
            expr, tuple(a if size != 1 else "" for a, size in zip(own, expr.shape, strict=True))
        ).text
