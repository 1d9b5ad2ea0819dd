"""The shelf: what forward and backward passes and training are put together from."""

from handgrad.nn.optimisers import SGD, Adagrad, Adam, AdamW, Optimiser, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimiser", "RMSprop"]
