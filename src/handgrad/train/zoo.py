"""The models that can be trained by name, each with the form of its data and what suits it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.models import bigram, character_mlp, gpt, layer_norm_mlp
from handgrad.train.data import Vocabulary, build_dataset, windows
from handgrad.train.evaluate import Network, Predictor, calibrate

Examples = tuple[Tensor, Tensor]
"""Contexts X [N, block_size] and what follows: Y [N], or Y [N, block_size] at every place."""


@dataclass(frozen=True)
class Model:
    """A model of characters.

    Attributes:
        about: what it is, in a few words.
        forward: from parameters and the batch `Xb`, `Yb` (and its size `n`) to the loss.
        parameters: draws them, of a vocabulary's size and a generator, in a dtype.
        predict: from parameters and contexts to logits.
        block_size: the characters of a context.
        optimizer: the optimiser that suits it.
        rate: its learning rate.
        whole: whether it guesses at every place of a context, not only after its end.
        calibrated: whether it reads statistics of the training set once it is trained.
    """

    name: str
    about: str
    forward: Callable[..., Tensor]
    parameters: Callable[..., dict[str, Tensor]]
    predict: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    block_size: int
    optimizer: str = "sgd"
    rate: float = 0.1
    whole: bool = False
    calibrated: bool = False

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Return the names that the forward pass takes."""
        return tuple(inspect.signature(self.forward).parameters)

    def examples(self, words: Sequence[str], vocabulary: Vocabulary) -> Examples:
        """Return all examples of some words."""
        make = windows if self.whole else build_dataset
        return make(words, vocabulary, self.block_size)

    def apart(self, examples: Examples) -> Examples:
        """Return as many examples as are needed to see every character once."""
        X, Y = examples
        return (X[:: self.block_size], Y[:: self.block_size]) if self.whole else examples

    def batch(self, examples: Examples, chosen: Tensor) -> dict[str, Any]:
        """Return the examples of these places, as the forward pass names them."""
        X, Y = examples
        found = {"Xb": X[chosen], "Yb": Y[chosen], "n": len(chosen)}
        return {name: value for name, value in found.items() if name in self.arguments}

    def network(self, parameters: Mapping[str, Tensor], examples: Examples) -> Network:
        """Return the model as it is used after training on these examples."""
        if self.calibrated:
            return calibrate(parameters, examples[0])
        return Predictor(parameters, self.predict)


def _seed_predict(parameters: Mapping[str, Tensor], Xb: Tensor) -> Tensor:
    raise AssertionError("batch norm's statistics come from calibration")


MODELS = {
    model.name: model
    for model in (
        Model(
            "character_mlp",
            "the exercise: embedding, tanh, batch norm",
            character_mlp.small_steps,
            character_mlp.parameters,
            _seed_predict,
            character_mlp.BLOCK_SIZE,
            calibrated=True,
        ),
        Model(
            "bigram",
            "logistic regression on the last character",
            bigram.forward,
            bigram.parameters,
            bigram.predict,
            bigram.BLOCK_SIZE,
            rate=10.0,
        ),
        Model(
            "layer_norm_mlp",
            "embedding, ReLU, layer norm",
            layer_norm_mlp.forward,
            layer_norm_mlp.parameters,
            layer_norm_mlp.predict,
            layer_norm_mlp.BLOCK_SIZE,
        ),
        Model(
            "gpt",
            "two blocks of causal attention",
            gpt.forward,
            gpt.parameters,
            gpt.predict,
            gpt.BLOCK_SIZE,
            optimizer="adamw",
            rate=1e-3,
            whole=True,
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


def refuse_labels(examples: Examples, classes: int) -> None:
    """Refuse examples with an index outside the vocabulary, naming the first.

    Raises:
        BadInput: there is one, or there are no examples, or indices that are no whole numbers.
    """
    X, Y = examples
    if not len(X):
        raise BadInput("there are no examples to train on", hint="give more words")
    for name, values in (("Xb", X), ("Yb", Y)):
        if values.dtype != torch.int64:
            kind = str(values.dtype).removeprefix("torch.")
            raise BadInput(f"{name} is {kind}, and indices are int64", hint=f"{name}.long()")
        bad = ((values < 0) | (values >= classes)).view(len(values), -1).any(1)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            raise BadInput(
                f"{name} of example {first:,} is {values[first].tolist()}",
                why=f"there are {classes} classes, 0 to {classes - 1}; "
                f"{int(bad.sum()):,} of {len(values):,} examples are outside",
                hint="mend the labels, or make the vocabulary from all the data",
            )
