"""From a run's settings to its optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handgrad.nn.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from handgrad.train.settings import Settings


def optimiser(settings: Settings) -> Optimiser:
    """Return the optimiser that settings name."""
    lr, decay = settings.lr, settings.weight_decay
    makers: dict[str, Callable[[], Any]] = {
        "sgd": lambda: SGD(lr, settings.momentum, settings.nesterov, decay),
        "adagrad": lambda: Adagrad(lr, weight_decay=decay),
        "rmsprop": lambda: RMSprop(lr, weight_decay=decay, momentum=settings.momentum),
        "adam": lambda: Adam(lr, weight_decay=decay),
        "adamw": lambda: AdamW(lr, weight_decay=decay),
    }
    return makers[settings.optimizer]()
