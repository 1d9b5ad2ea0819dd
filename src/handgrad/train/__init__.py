"""Training by hand-written gradients: words, the loop, sampling."""

from handgrad.train.data import Vocabulary, build_dataset, load_words, split

__all__ = ["Vocabulary", "build_dataset", "load_words", "split"]
