"""Words and the examples made of them: reading, vocabulary, contexts with their targets, split."""

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Self

import torch

from handgrad.errors import BadInput

BOUNDARY = "."
"""The character before and after every word; index 0 of every vocabulary."""

MAX_BYTES = 200_000_000

_ONE_A_LINE = "give a text file in UTF-8, one word a line"


@dataclass(frozen=True)
class Vocabulary:
    """The characters of a list of words, each with its index; index 0 is the boundary."""

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what could not be encoded and decoded again.

        Raises:
            BadInput: The boundary is not first, or a character is repeated or not a single one.
        """
        single = all(len(character) == 1 for character in self.characters)
        distinct = len(self._index) == len(self.characters)
        if self.characters[:1] != (BOUNDARY,) or not single or not distinct:
            raise BadInput(
                "this is not a vocabulary",
                why=f"it is {BOUNDARY!r}, then each character once, not {self.characters!r}",
                hint="use Vocabulary.from_words",
            )

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Self:
        """Return the vocabulary of `words`: the boundary, then their characters in order."""
        return cls((BOUNDARY, *sorted(set().union(*words) - {BOUNDARY})))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, word: str, *, where: str = "") -> list[int]:
        """Return the index of each character of `word`.

        Args:
            word: The characters, boundary excluded.
            where: The place of the word, such as `names.txt:7`, for the message.

        Raises:
            BadInput: The word has the boundary in it, or a character outside the vocabulary.
        """
        _refuse_boundary(word, where)
        for position, character in enumerate(word, start=1):
            if character not in self._index:
                raise BadInput(
                    f"character {character!r} of {word!r} is not in the vocabulary",
                    where=where,
                    why=f"it is number {position} of the word; "
                    f"known are {''.join(self.characters[1:])!r}",
                    hint="change the word, or make the vocabulary from a list that has it",
                )
        return [self._index[character] for character in word]

    def decode(self, indices: Iterable[int]) -> str:
        """Return the characters that `indices` stand for, boundaries included.

        Raises:
            BadInput: An index is outside the vocabulary.
        """
        indices = list(indices)
        for index in indices:
            if not 0 <= index < len(self):  # a negative one would count from the end
                raise BadInput(
                    f"index {index} is not in the vocabulary",
                    why=f"it has {len(self)} characters, 0 to {len(self) - 1}",
                    hint="decode with the vocabulary that encoded",
                )
        return "".join(self.characters[index] for index in indices)


def load_words(path: Path | None = None, vocabulary: Vocabulary | None = None) -> list[str]:
    """Return the words of a text file, one a line, in its order; the built-in names without one.

    Surrounding whitespace and blank lines are dropped; a space inside belongs to the word.

    Args:
        path: The file, in UTF-8.
        vocabulary: If given, each word must be spelled in it.

    Raises:
        BadInput: The file cannot be read, is not text, has fewer than two words, or has a word
            that cannot be encoded.
    """
    source = "names.txt (built in)" if path is None else str(path)
    data = (files("handgrad.train") / "names.txt").read_bytes() if path is None else _read(path)
    lines = _text(data, source).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    words: list[str] = []
    for number, line in enumerate(lines, start=1):
        if word := line.strip():
            _refuse_boundary(word, f"{source}:{number}")
            if vocabulary is not None:
                vocabulary.encode(word, where=f"{source}:{number}")
            words.append(word)
    if not words:
        raise BadInput("there is no word in the data", where=source, hint=_ONE_A_LINE)
    if len(words) == 1:
        raise BadInput(
            f"there is only one word in the data, {_shortened(words[0])!r}",
            where=source,
            why="one word cannot be split into training and test words",
            hint=_ONE_A_LINE,
        )
    return words


def build_dataset(
    words: Sequence[str], vocabulary: Vocabulary, block_size: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each context X [N, block_size] with the character that follows it, Y [N].

    A word of k characters makes k + 1 examples: its characters, then the boundary. Contexts are
    filled up with boundaries at a word's start. Both tensors are int64.

    Raises:
        BadInput: The block size is below 1, or a word cannot be encoded.
    """
    if block_size < 1:
        raise BadInput(
            f"the block size is {block_size}", why="a context has at least one character"
        )
    if not words:
        return torch.zeros(0, block_size, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    padding = [0] * block_size
    stream: list[int] = []
    is_target = bytearray()
    for word in words:
        stream += [*padding, *vocabulary.encode(word), 0]
        is_target += bytes(block_size) + b"\1" * (len(word) + 1)
    characters = torch.tensor(stream)
    chosen = torch.frombuffer(is_target, dtype=torch.bool)[block_size:]
    contexts = characters.unfold(0, block_size, 1)[:-1]  # row i precedes character i + block_size
    return contexts[chosen], characters[block_size:][chosen]


def windows(
    words: Sequence[str], vocabulary: Vocabulary, block_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every stretch X [N, block_size] of the words written one after another, and Y.

    Y [N, block_size] is what follows at each place. A boundary stands between words, before the
    first and after the last. Both are int64, and share the memory of one stretch.
    """
    stream = [0]
    for word in words:
        stream += [*vocabulary.encode(word), 0]
    characters = torch.tensor(stream)
    if len(stream) <= block_size:
        return torch.zeros(0, block_size, dtype=torch.int64), characters[:0].view(0, 1)
    found = characters.unfold(0, block_size, 1)
    return found[:-1], found[1:]


def split(words: Sequence[str], seed: int = 42) -> tuple[list[str], list[str], list[str]]:
    """Return `words` shuffled and cut into 80 % training, 10 % validation, 10 % test words.

    The order is that of `random.seed(seed); random.shuffle(words)`. Below six words the cuts move
    so that no part is empty; two words leave the test part empty.
    """
    shuffled = list(words)
    random.Random(seed).shuffle(shuffled)
    count = len(shuffled)
    first = max(min(int(0.8 * count), count - 2), 1)
    second = max(int(0.9 * count), first + 1)
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def _read(path: Path) -> bytes:
    """Return the content of `path`, which may be a pipe, never reading past the limit."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > MAX_BYTES else file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInput("no such file", where=str(path), hint="check the path") from None
    except IsADirectoryError:
        raise BadInput("this is a directory", where=str(path), hint=_ONE_A_LINE) from None
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(
            "the file cannot be read", where=str(path), why=reason, hint="check the path"
        ) from None
    if max(size, len(data)) > MAX_BYTES:
        raise BadInput(
            f"the file is larger than {MAX_BYTES // 1_000_000} MB",
            where=str(path),
            why=f"it has {size / 1e6:,.0f} MB" if size > MAX_BYTES else "it goes on past that",
            hint="give a part of it, such as its first million lines",
        )
    return data


def _text(data: bytes, source: str) -> str:
    """Decode `data`, refusing what is not text."""
    nul = data.find(0)
    if nul >= 0:
        raise BadInput(
            "this is binary data, not text",
            where=source,
            why=f"byte {nul:,} is zero",
            hint=_ONE_A_LINE,
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            "this is not text in UTF-8",
            where=f"{source}:{line}",
            why=f"byte {data[error.start]:#04x} at {error.start:,} fits no character",
            hint="convert it to UTF-8, or give a text file",
        ) from None


def _refuse_boundary(word: str, where: str) -> None:
    if BOUNDARY in word:
        raise BadInput(
            f"word {_shortened(word)!r} has a {BOUNDARY!r} in it",
            where=where,
            why=f"{BOUNDARY!r} marks where words begin and end",
            hint="take it out of the word",
        )


def _shortened(word: str, limit: int = 40) -> str:
    return word if len(word) <= limit else word[: limit - 3] + "..."
