"""The files that the journey leaves behind, as bytes by name."""

from __future__ import annotations

from handgrad.derive import Backward
from handgrad.emit import module
from handgrad.ninja import Journey
from handgrad.render.blocks import as_markdown
from handgrad.render.curve import loss_png, of_journey
from handgrad.render.ninja import report

NAMES = ("backward.py", "report.md", "loss.png")

COMPARE = """

if __name__ == "__main__":  # on random numbers, beside autograd
    g = torch.Generator().manual_seed({seed})
    values = {{
{values}
    }}
    leaves = [{leaves}]
    for name in leaves:
        values[name].requires_grad_()
    loss, saved = forward(**values)
    loss.backward()
    with torch.no_grad():
        gradients = backward(torch.ones_like(loss), saved)
    for name in leaves:
        off = (gradients["d" + name] - values[name].grad).abs().max()
        print(f"{{'d' + name:8s}} {{list(values[name].shape)!s:10s}} maxdiff: {{off:.1e}}")
"""


def files(journey: Journey) -> dict[str, bytes]:
    """Return the backward pass as a program of its own, the report, and the picture in it."""
    backward = journey.line_by_line.backward
    text = module(backward, "the character MLP in small steps")
    text += compare(backward, len(journey.setup.vocabulary), journey.setup.seed)
    picture = loss_png(of_journey(journey.trained))
    contents = (
        text.encode(),
        as_markdown(report(journey)).encode(),
        picture,
    )
    return dict(zip(NAMES, contents, strict=True))


def compare(backward: Backward, below: int, seed: int) -> str:
    """Return the end of the file: run as a program, it compares its gradients with autograd's."""
    trace = backward.trace
    drawn = []
    for name in trace.program.inputs:
        floating = name.dtype.is_floating_point
        draw = f"randn({list(name.shape)}" if floating else f"randint({below}, {list(name.shape)}"
        drawn.append(f'"{name.name}": torch.{draw}, generator=g){" * 0.1" if floating else ""},')
    drawn += [f'"{name}": {value!r},' for name, value in trace.program.scalars.items()]
    leaves = ", ".join(f'"{name}"' for name in trace.leaves)
    values = "\n".join(" " * 8 + line for line in drawn)
    return COMPARE.format(seed=seed, values=values, leaves=leaves)
