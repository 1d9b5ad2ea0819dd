"""The models that are timed: forward passes in plain PyTorch, each with data of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.models import character_mlp, gpt, layer_norm_mlp

LETTERS, CLASSES, PIXELS, FEATURES = 27, 10, 16, 64
STEPS, EMBEDDING, HIDDEN = 8, 16, 64
EXAMPLES = 1024
RATE = 0.01

Draw = Callable[[torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
        about: what it is, in a few words.
        forward: from parameters and a batch `Xb`, `Yb` to the loss.
        parameters: draws them.
        data: draws `Xb` and `Yb` of so many examples.
        batches: the batch sizes that it is timed at.
    """

    name: str
    about: str
    forward: Callable[..., Tensor]
    parameters: Draw
    data: Callable[[int, torch.Generator], dict[str, Tensor]]
    batches: tuple[int, ...] = (1, 32, 256)


@dataclass(frozen=True)
class Case:
    """A model at a batch size, with its parameters and its examples.

    Attributes:
        batch: so many examples a step.
        data: all examples, by the names of the batch.
    """

    model: Model
    batch: int
    parameters: dict[str, Tensor]
    data: dict[str, Tensor]

    @property
    def first(self) -> dict[str, Any]:
        """Return the arguments of a forward pass on the first examples."""
        rows = {name: tensor[: self.batch].clone() for name, tensor in self.data.items()}
        counted = {"n": self.batch} if self.model.forward is character_mlp.small_steps else {}
        return {**self.copies(), **rows, **counted}

    def copies(self) -> dict[str, Tensor]:
        """Return copies of the parameters."""
        return {name: tensor.clone() for name, tensor in self.parameters.items()}


def case(model: Model, batch: int) -> Case:
    """Draw parameters and examples."""
    g = torch.Generator().manual_seed(character_mlp.SEED)
    return Case(model, batch, model.parameters(g), model.data(max(EXAMPLES, batch), g))


def randn(g: torch.Generator, *shape: int) -> Tensor:
    """Draw a matrix whose products keep the size of what they multiply, or a small vector."""
    scale = shape[0] ** -0.5 if len(shape) > 1 else 0.1
    return torch.randn(shape, generator=g) * scale


def letters(*shape: int) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    """Return what draws contexts of letters, and the letters that follow."""

    def draw(count: int, g: torch.Generator) -> dict[str, Tensor]:
        after = (count,) if shape != (gpt.BLOCK_SIZE,) else (count, *shape)
        return {
            "Xb": torch.randint(0, LETTERS, (count, *shape), generator=g),
            "Yb": torch.randint(0, LETTERS, after, generator=g),
        }

    return draw


def numbers(*shape: int) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    """Return what draws arrays of numbers, and their classes."""

    def draw(count: int, g: torch.Generator) -> dict[str, Tensor]:
        return {
            "Xb": torch.randn((count, *shape), generator=g),
            "Yb": torch.randint(0, CLASSES, (count,), generator=g),
        }

    return draw


# fmt: off
def logistic(W, b, Xb, Yb):
    """Return the loss of logistic regression on Xb [n, FEATURES]."""
    logits = Xb @ W + b
    loss = F.cross_entropy(logits, Yb)
    return loss


def rnn(C, Wx, Wh, b, Wo, bo, Xb, Yb):
    """Return the loss of what follows Xb [n, STEPS], by a recurrent network."""
    emb = C[Xb]
    h = torch.zeros(Xb.shape[0], Wh.shape[0], dtype=Wh.dtype)
    for t in range(Xb.shape[1]):
        h = torch.tanh(emb[:, t] @ Wx + h @ Wh + b)
    logits = h @ Wo + bo
    loss = F.cross_entropy(logits, Yb)
    return loss


def gru(C, Wxz, Whz, bz, Wxr, Whr, br, Wxc, Whc, bc, Wo, bo, Xb, Yb):
    """Return the loss of what follows Xb [n, STEPS], by gated recurrent units."""
    emb = C[Xb]
    h = torch.zeros(Xb.shape[0], Whz.shape[0], dtype=Whz.dtype)
    for t in range(Xb.shape[1]):
        x = emb[:, t]
        z = torch.sigmoid(x @ Wxz + h @ Whz + bz)
        r = torch.sigmoid(x @ Wxr + h @ Whr + br)
        c = torch.tanh(x @ Wxc + (r * h) @ Whc + bc)
        h = (1 - z) * h + z * c
    logits = h @ Wo + bo
    loss = F.cross_entropy(logits, Yb)
    return loss


def conv(K1, b1, K2, b2, W, b, Xb, Yb):
    """Return the loss of images Xb [n, 1, PIXELS, PIXELS], by two convolutions and a mean."""
    h1 = torch.relu(F.conv2d(Xb, K1, b1, padding=1))
    h2 = torch.relu(F.conv2d(h1, K2, b2, stride=2, padding=1))
    pooled = h2.mean((2, 3))
    logits = pooled @ W + b
    loss = F.cross_entropy(logits, Yb)
    return loss
# fmt: on


def logistic_parameters(g: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters of logistic regression."""
    return {"W": randn(g, FEATURES, CLASSES), "b": randn(g, CLASSES)}


def rnn_parameters(g: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters of the recurrent network."""
    shapes = {"C": (LETTERS, EMBEDDING), "Wx": (EMBEDDING, HIDDEN), "Wh": (HIDDEN, HIDDEN)}
    shapes |= {"b": (HIDDEN,), "Wo": (HIDDEN, LETTERS), "bo": (LETTERS,)}
    return {name: randn(g, *shape) for name, shape in shapes.items()}


def gru_parameters(g: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters of the gated recurrent units."""
    shapes: dict[str, tuple[int, ...]] = {"C": (LETTERS, EMBEDDING)}
    for gate in "zrc":
        shapes |= {f"Wx{gate}": (EMBEDDING, HIDDEN), f"Wh{gate}": (HIDDEN, HIDDEN)}
        shapes |= {f"b{gate}": (HIDDEN,)}
    shapes |= {"Wo": (HIDDEN, LETTERS), "bo": (LETTERS,)}
    return {name: randn(g, *shape) for name, shape in shapes.items()}


def conv_parameters(g: torch.Generator) -> dict[str, Tensor]:
    """Draw the parameters of the convolutional network."""
    first, second = 8, 16
    return {
        "K1": torch.randn((first, 1, 3, 3), generator=g) / 3,
        "b1": randn(g, first),
        "K2": torch.randn((second, first, 3, 3), generator=g) / (9 * first) ** 0.5,
        "b2": randn(g, second),
        "W": randn(g, second, CLASSES),
        "b": randn(g, CLASSES),
    }


def of_letters(draw: Callable[..., dict[str, Tensor]]) -> Draw:
    """Return what draws the parameters of a model of letters."""
    return lambda g: draw(LETTERS, g)


SEED = "seed"
MODELS = {
    model.name: model
    for model in (
        Model(
            SEED,
            "the exercise's network: embedding, 200 tanh, batch norm",
            character_mlp.small_steps,
            of_letters(character_mlp.parameters),
            letters(character_mlp.BLOCK_SIZE),
            (character_mlp.BATCH,),
        ),
        Model(
            "mlp",
            "embedding, 200 ReLU, layer norm",
            layer_norm_mlp.forward,
            of_letters(layer_norm_mlp.parameters),
            letters(layer_norm_mlp.BLOCK_SIZE),
        ),
        Model("rnn", "64 tanh over 8 steps", rnn, rnn_parameters, letters(STEPS)),
        Model("gru", "64 gated units over 8 steps", gru, gru_parameters, letters(STEPS)),
        Model(
            "gpt",
            "2 blocks, width 64, 4 heads, 32 places",
            gpt.forward,
            of_letters(gpt.parameters),
            letters(gpt.BLOCK_SIZE),
            (1, 8, 32, 256),
        ),
        Model(
            "conv",
            "2 convolutions of 16 x 16 pixels",
            conv,
            conv_parameters,
            numbers(1, PIXELS, PIXELS),
        ),
        Model(
            "logistic",
            "logistic regression, 64 features, 10 classes",
            logistic,
            logistic_parameters,
            numbers(FEATURES),
        ),
    )
}


def model_named(name: str) -> Model:
    """Return a model.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in MODELS:
        raise BadInput(f"there is no model {name!r}", hint=f"one of {', '.join(MODELS)}")
    return MODELS[name]
