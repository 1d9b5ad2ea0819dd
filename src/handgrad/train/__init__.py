"""Training by hand-written gradients: words, the loop, losses, sampling."""

from handgrad.train.data import Vocabulary, build_dataset, load_words, split
from handgrad.train.evaluate import Calibrated, calibrate, mean_loss, sample
from handgrad.train.loop import Moment, Race, Training, by_autograd, train

__all__ = [
    "Calibrated",
    "Moment",
    "Race",
    "Training",
    "Vocabulary",
    "build_dataset",
    "by_autograd",
    "calibrate",
    "load_words",
    "mean_loss",
    "sample",
    "split",
    "train",
]
