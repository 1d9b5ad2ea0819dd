"""Writes random programs: templates filled with what is in scope, each tried in plain PyTorch.

A template is Python text with marks. `$x` is any float tensor, `$v` one with an axis, `$m` one with
two or more, `$q` one with exactly two, `$t` one with three; `$s_x` has the shape of `$x`, `$b_x`
broadcasts with it, `$w_x` is a matrix that it can be multiplied by, `$l_x` a vector along its last
axis, `$i_x` an index into its first axis, `$j_x` a label for each of its rows, `$mask_x` a mask,
`$d_x` an axis, `$n_x` the size of its last one. `$a{n,2}` has the sizes in braces (a letter stands for
one size throughout, `$size_n` is that size), `$i{n|c}` is an index below `c`, `$mask{n,c}` a mask.
`$c` is a number, `$k` a small one; `$0`, `$1` are new names; `$f`, `$g`, `$C` names of definitions, `$N` of
a module. What stands above a line `---` goes to the top of the file.
"""

from __future__ import annotations

import keyword
import random
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fuzzing.program import HEAD, Argument, Program, module_parameters, wanted

MARK = re.compile(r"\$([a-zA-Z]+\d?(?:_[a-z]\d?)?|\d)(?:\{([^}]*)\})?")
SIZES = (1, 2, 2, 3, 3, 4, 5, 6, 7)
NAMES = [
    "h",
    "z",
    "out",
    "e",
    "act",
    "hidden",
    "r",
    "s",
    "u",
    "y",
    "probs",
    "logits",
    "k",
    "p",
    "acc",
]
ODD = (
    "dloss dx x_1 h_1 torch_ lambda_ class_ F_ loss_1 dh d_x dim input other self_ sum max min abs "
    "out_1 read0 saved z_ y_ θ λ _ _h __h dloss_1 grad data T index len print values name loss_"
).split()
LARGEST, MOST = 1e4, 3000


class Unfit(Exception):
    """A template that cannot be filled from what is in scope, or does not run."""


@dataclass
class Writer:
    """A program under construction."""

    rng: random.Random
    seed: int
    module: bool = False
    square: int = 0
    asked: bool = False
    arguments: list[Argument] = field(default_factory=list)
    top: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)  # lines of a module's __init__
    body: list[str] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)
    constructs: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)  # what the last template made
    count: int = 0

    def size(self) -> int:
        """Draw the size of an axis."""
        return self.square or self.rng.choice(SIZES)

    def shape(self, rank: int) -> tuple[int, ...]:
        """Draw a shape."""
        return tuple(self.size() for _ in range(rank))

    def leaf(self, shape: tuple[int, ...], kind: str = "float", below: int = 0) -> str:
        """Add an argument, or a parameter of the module; return how it is read."""
        floats = kind in ("float", "whole", "positive")
        if kind == "float" and self.rng.random() < 0.1:
            kind = "whole"
        if self.module and floats and self.rng.random() < 0.7:
            name = self.fresh("W")
            draw = "torch.rand" if kind == "positive" else "torch.randn"
            self.parts.append(f"self.{name} = nn.Parameter({draw}({list(shape)}).double())")
            return f"self.{name}"
        name = self.fresh(self.rng.choice(["x", "w", "b", "W"]) if floats else "i")
        marked = floats and self.asked and self.rng.random() < 0.75
        self.arguments.append(Argument(name, kind, shape, below, marked))
        return name

    def fresh(self, stem: str) -> str:
        """Return a name that nothing has."""
        self.count += 1
        return f"{stem}{self.count}"

    def result(self) -> str:
        """Draw the name of a result: new, odd, or one that is taken already."""
        chance = self.rng.random()
        if chance < 0.06:
            return self.rng.choice(ODD)
        taken = [n for n in self.values if n.isidentifier()]
        if chance < 0.2 and taken:
            return self.rng.choice(taken)
        return self.fresh(self.rng.choice(NAMES))

    def pick(self, low: int, high: int, **like: Any) -> str:
        """Return a float tensor in scope of a rank between two, sometimes a new argument."""
        fits = [
            n for n, t in self.values.items() if low <= t.ndim <= high and t.is_floating_point()
        ]
        fits = [n for n in fits if self.values[n].dtype == torch.float64 or self.rng.random() < 0.2]
        fits = fits[-5:] if self.rng.random() < 0.75 else fits
        fits = [n for n in fits if self.values[n].numel() or self.rng.random() < 0.05]
        if fits and self.rng.random() < 0.9:
            return self.rng.choice(fits)
        return self.leaf(self.shape(self.rng.randint(low, min(high, 3))))

    def known(self, shape: tuple[int, ...]) -> str:
        """Return a float tensor of a shape: one in scope, a new argument, or one made of both."""
        fits = [
            n
            for n, t in self.values.items()
            if tuple(t.shape) == shape and t.dtype == torch.float64
        ]
        if fits and self.rng.random() < 0.6:
            return self.rng.choice(fits)
        leaf = self.leaf(shape)
        floats = [n for n, t in self.values.items() if t.dtype == torch.float64 and t.numel()]
        if floats and self.rng.random() < 0.5:
            return f"({leaf} + {self.rng.choice(floats)}.mean())"
        return leaf


@dataclass
class Filling:
    """One template being filled."""

    writer: Writer
    chosen: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Replace every mark."""
        return MARK.sub(lambda m: self.mark(m.group(0), m.group(1), m.group(2)), text)

    def mark(self, whole: str, word: str, braces: str | None) -> str:
        """Return what a mark stands for, the same each time."""
        if whole not in self.chosen or word in ("c", "k"):
            self.chosen[whole] = self.drawn(word, braces)
        return self.chosen[whole]

    def drawn(self, word: str, braces: str | None) -> str:
        """Draw what a mark stands for."""
        w, rng = self.writer, self.writer.rng
        if word.startswith("size_"):
            return str(self.sized(word[5:]))
        if braces is not None:
            return self.shaped(word.rstrip("0123456789"), braces)
        if "_" in word:
            return self.related(*word.split("_"))
        if word.isdigit():
            return w.result()
        ranks = {"x": (0, 4), "v": (1, 4), "m": (2, 4), "q": (2, 2), "t": (3, 3)}
        stem = word.rstrip("0123456789")
        if stem in ranks:
            name = w.pick(*ranks[stem])
            self.remember(word, name)
            return name
        if stem == "N":
            return w.fresh("self.net" if w.module else "net")
        if stem in ("f", "g", "C"):
            return w.fresh({"f": "helper", "g": "part", "C": "Box"}[stem])
        if stem == "c":
            return rng.choice(["0.5", "2", "3", "0.1", "-1", "1.5", "1e-3", "(1 / 3)", "-0.25"])
        if stem == "k":
            return rng.choice(["1", "2", "3"])
        raise KeyError(word)

    def remember(self, word: str, name: str) -> None:
        """Keep the shape of what a mark stands for."""
        w = self.writer
        if name in w.values:
            self.shapes[word] = tuple(w.values[name].shape)
        else:
            plain = name.removeprefix("self.")
            given = [a.shape for a in w.arguments if a.name == plain]
            self.shapes[word] = given[0] if given else shape_of_parameter(w.parts, name)

    def sized(self, letter: str) -> int:
        """Return the size that a letter stands for."""
        return self.sizes.setdefault(letter, max(2, self.writer.size()))

    def shaped(self, stem: str, braces: str) -> str:
        """Return a tensor with the sizes in braces."""
        text, _, below = braces.partition("|")
        each = [part.strip() for part in text.split(",") if part.strip()]
        shape = tuple(int(p) if p.isdigit() else self.sized(p) for p in each)
        if stem == "i":
            limit = int(below) if below.isdigit() else self.sized(below)
            return self.writer.leaf(shape, "index", limit)
        if stem == "p":
            return self.writer.leaf(shape, "positive")
        return self.writer.leaf(shape, "mask") if stem == "mask" else self.writer.known(shape)

    def related(self, kind: str, reference: str) -> str:
        """Return what fits another tensor."""
        if reference not in self.shapes:
            raise Unfit(reference)
        w, rng, shape = self.writer, self.writer.rng, self.shapes[reference]
        match kind:
            case "s":
                return w.known(shape)
            case "b":
                axes = [1 if rng.random() < 0.35 else n for n in shape]
                axes = axes[rng.randint(0, len(axes)) :] if rng.random() < 0.4 else axes
                return w.known(tuple(axes))
            case "p":
                return w.leaf(shape, "positive")
            case "mask":
                return w.leaf(shape, "mask")
            case "d":
                return str(rng.randrange(-len(shape), len(shape)))
            case "w":
                name = w.known((shape[-1], w.size()))
                return name
            case "l":
                return w.known(shape[-1:])
            case "i" | "j" if 0 in shape:
                raise Unfit(reference)
            case "i":
                return w.leaf((rng.choice([1, 2, 3, 5]),), "index", shape[0])
            case "j":
                return w.leaf(shape[:-1], "index", shape[-1])
            case "n":
                return (
                    str(shape[-1])
                    if rng.random() < 0.5
                    else f"{self.chosen['$' + reference]}.shape[-1]"
                )
        raise KeyError(kind)


def shape_of_parameter(parts: Iterable[str], name: str) -> tuple[int, ...]:
    """Return the shape of a parameter that a module was just given."""
    line = next(part for part in parts if part.startswith(f"{name} ="))
    found = re.search(r"\(\[([\d, ]*)\]\)", line)
    return tuple(int(p) for p in found.group(1).split(",") if p.strip()) if found else ()


def indented(lines: Iterable[str], by: str) -> str:
    """Return lines set in."""
    return "".join(f"{by}{line}\n" if line else "\n" for line in lines)


def source_of(w: Writer, ending: Iterable[str]) -> str:
    """Return the whole text."""
    names = ", ".join(a.name for a in w.arguments)
    top = HEAD + "\n\n" + "".join(f"{each}\n\n\n" for each in w.top)
    if not w.module:
        return f"{top}def forward({names}):\n{indented([*w.body, *ending], '    ')}"
    start = ["super().__init__()", *w.parts]
    return (
        f"{top}class Net(nn.Module):\n    def __init__(self):\n{indented(start, ' ' * 8)}\n"
        f"    def forward(self{', ' if names else ''}{names}):\n"
        f"{indented([*w.body, *ending], ' ' * 8)}\n\n\nmodel = Net()\n"
    )


def run(w: Writer) -> dict[str, Any]:
    """Run what there is, forward and backward; return what is in scope.

    Raises:
        Unfit: it does not run, or something in it is too large or no number.
    """
    program = Program(w.seed, source_of(w, ["return locals()"]), tuple(w.arguments), (), w.module)
    with warnings.catch_warnings(action="ignore"):
        try:
            target = program.load()
            given = program.draw()
            for name in wanted(program):
                given[name].requires_grad_()
            leaves = [t for t in given.values() if t.requires_grad]
            torch.manual_seed(w.seed)
            scope = dict(target(**given))
            if w.module:
                leaves += list(target.parameters())
                scope |= {f"self.{n}": p for n, p in target.named_parameters() if "." not in n}
                scope.pop("self", None)
            else:
                leaves += list(module_parameters(target).values())
            total = sum(t.sum() for t in scope.values() if has_gradient(t))
            if isinstance(total, Tensor):
                grads = torch.autograd.grad(total, leaves, allow_unused=True)
                if not all(sane(g) for g in grads if g is not None):
                    raise Unfit("gradients")
        except Unfit:
            raise
        except Exception as error:
            raise Unfit(repr(error)) from error
    return scope


def has_gradient(value: Any) -> bool:
    """Tell whether a value is a float tensor that depends on a leaf."""
    return isinstance(value, Tensor) and value.requires_grad and value.is_floating_point()


def sane(value: Tensor) -> bool:
    """Tell whether all entries are numbers of a common size."""
    if not value.is_floating_point():
        return True
    return value.numel() <= MOST and bool((value.detach().abs() < LARGEST).all())


def add(w: Writer, template: str) -> bool:
    """Fill a template and keep it if the program still runs."""
    before = (list(w.arguments), list(w.top), list(w.parts), list(w.body))
    filling = Filling(w)
    head, rule, body = template.strip("\n").partition("\n---\n")
    if not rule:
        head, body = "", template.strip("\n")
    try:
        body = filling.fill(body)
        head = filling.fill(head)
        for line in head.split("\n\n"):
            module_lines = [part for part in line.splitlines() if part.startswith("module ")]
            place = w.parts if w.module else w.top
            place += drawn_modules(module_lines)
            rest = "\n".join(part for part in line.splitlines() if part not in module_lines)
            if rest.strip():
                w.top.append(rest)
        w.body += body.splitlines()
        if any(keyword.iskeyword(name) for name in filling.chosen.values()):
            raise Unfit("keyword")
        scope = run(w)
    except Unfit:
        w.arguments, w.top, w.parts, w.body = before
        return False
    tensors = {n: v for n, v in scope.items() if isinstance(v, Tensor) and not v.is_complex()}
    w.results = [name for mark, name in filling.chosen.items() if mark[1:].isdigit()]
    w.values = {n: t.detach() for n, t in tensors.items() if sane(t) and t.is_floating_point()}
    return True


def drawn_modules(lines: Iterable[str]) -> list[str]:
    """Return the lines that make modules, each parameter then drawn anew: ones hide mistakes."""
    texts = []
    for line in lines:
        text = line.removeprefix("module ")
        name = text.partition(" = ")[0]
        draw = f"for p in {name}.parameters():\n    nn.init.normal_(p, std=0.4)"
        texts += [text, draw]
    return texts
