"""From a run's settings to its optimiser."""

from __future__ import annotations

from handgrad.nn.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop
from handgrad.train.settings import Settings


def optimiser(settings: Settings) -> Optimiser:
    """Return the optimiser that settings name."""
    lr, decay = settings.lr, settings.weight_decay
    match settings.optimizer:
        case "sgd":
            return SGD(lr, settings.momentum, settings.nesterov, decay)
        case "adagrad":
            return Adagrad(lr, weight_decay=decay)
        case "rmsprop":
            return RMSprop(lr, weight_decay=decay, momentum=settings.momentum)
        case "adam":
            return Adam(lr, weight_decay=decay)
        case _:
            return AdamW(lr, weight_decay=decay)
