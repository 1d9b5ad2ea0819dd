"""Words, vocabulary, examples and the split, with every bad input."""

import hashlib
import os
import random
import re
import threading
import time
from pathlib import Path

import pytest
import torch

from handgrad.errors import BadInput
from handgrad.train import Vocabulary, build_dataset, data, load_words, split


@pytest.fixture
def write(tmp_path: Path):
    def write(content: bytes | str) -> Path:
        path = tmp_path / "words.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="module")
def names() -> list[str]:
    return load_words()


# The built-in list


def test_built_in_names_are_as_written_down(names):
    assert len(names) == len(set(names)) == 32_000
    assert names[:3] == ["james", "john", "robert"]
    assert all(re.fullmatch("[a-z]+", name) for name in names)
    folder = Path(data.__file__).parent
    checksum = hashlib.sha256((folder / "names.txt").read_bytes()).hexdigest()
    assert checksum in (folder / "NAMES.md").read_text(encoding="utf-8")


def test_built_in_vocabulary_has_27_characters(names):
    assert Vocabulary.from_words(names).characters == tuple(".abcdefghijklmnopqrstuvwxyz")


# Reading


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("emma\nava\n", ["emma", "ava"]),
        ("emma\nava", ["emma", "ava"]),
        ("emma\r\nava\r\n", ["emma", "ava"]),
        ("emma\rava\r", ["emma", "ava"]),
        ("\n  emma \n\n\t\nava\n\n", ["emma", "ava"]),
        ("mary ann\nava\n", ["mary ann", "ava"]),
        ("zoë\nélodie\n", ["zoë", "élodie"]),
        ("\ufeffemma\nava\n", ["emma", "ava"]),
        ("ava\nava\n", ["ava", "ava"]),
        ("a\u2028b\nc\x0cd\n", ["a\u2028b", "c\x0cd"]),
    ],
)
def test_a_line_is_a_word(write, content, words):
    assert load_words(write(content)) == words


def test_a_pipe_can_be_read(tmp_path):
    pipe = tmp_path / "pipe"
    try:
        os.mkfifo(pipe)
    except (AttributeError, OSError):
        pytest.skip("no named pipes here")
    writer = threading.Thread(target=pipe.write_text, args=("emma\nava\n",))
    writer.start()
    assert load_words(pipe) == ["emma", "ava"]
    writer.join()


# Bad input: what it says, where, and one thing to do


def refused(path: Path, vocabulary: Vocabulary | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        load_words(path, vocabulary)
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


def test_no_such_file(tmp_path):
    error = refused(tmp_path / "nowhere.txt")
    assert error.what == "no such file"
    assert error.where == str(tmp_path / "nowhere.txt")


def test_directory(tmp_path):
    assert refused(tmp_path).what == "this is a directory"


def test_file_below_a_file(write):
    assert refused(write("emma\nava\n") / "more").what == "the file cannot be read"


def test_nul_in_the_path():
    assert refused(Path("a\0b")).what == "the file cannot be read"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_file_without_permission(write):
    path = write("emma\nava\n")
    path.chmod(0)
    assert refused(path).why == "Permission denied"


@pytest.mark.parametrize("content", ["", "\n\n", "  \t\r\n", "\ufeff"])
def test_empty_file(write, content):
    assert refused(write(content)).what == "there is no word in the data"


def test_only_one_word(write):
    assert refused(write("\nemma\n")).what == "there is only one word in the data, 'emma'"


def test_one_long_line_is_shortened_in_the_message(write):
    assert len(refused(write("x" * 100_000)).message) < 300


def test_binary_data(write):
    error = refused(write(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"))
    assert error.what == "this is binary data, not text"
    assert error.why == "byte 8 is zero"


def test_utf_16(write):
    assert refused(write("emma\nava\n".encode("utf-16"))).what == "this is binary data, not text"


def test_latin_1(write):
    path = write("emma\nzoë\n".encode("latin-1"))
    error = refused(path)
    assert error.what == "this is not text in UTF-8"
    assert error.where == f"{path}:2"
    assert error.why == "byte 0xeb at 7 fits no character"


def test_boundary_in_a_word(write):
    path = write("emma\n\nst. john\n")
    error = refused(path)
    assert error.what == "word 'st. john' has a '.' in it"
    assert error.where == f"{path}:3"


def test_too_large_a_file(write, monkeypatch):
    monkeypatch.setattr(data, "MAX_BYTES", 2_000_000)
    assert refused(write(b"emma\n" * 400_001)).what == "the file is larger than 2 MB"
    assert len(load_words(write(b"emma\n" * 400_000))) == 400_000


def test_endless_file(monkeypatch):
    monkeypatch.setattr(data, "MAX_BYTES", 2_000_000)
    if not Path("/dev/zero").exists():
        pytest.skip("no endless file here")
    assert refused(Path("/dev/zero")).why == "it goes on past that"


def test_character_outside_a_given_vocabulary(write):
    path = write("\nava\neva\n")
    error = refused(path, Vocabulary.from_words(["ava"]))
    assert error.what == "character 'e' of 'eva' is not in the vocabulary"
    assert error.where == f"{path}:3"
    assert error.why == "it is number 1 of the word; known are 'av'"


# Vocabulary


def test_encode_and_decode_are_inverse():
    vocabulary = Vocabulary.from_words(["emma", "zoë", "mary ann"])
    assert vocabulary.characters[0] == "."
    assert len(vocabulary) == 11
    for word in ("emma", "zoë", "mary ann", ""):
        assert vocabulary.decode(vocabulary.encode(word)) == word
    assert vocabulary.decode([0]) == "."


@pytest.mark.parametrize("characters", [(), ("a", "."), (".", "a", "a"), (".", "ab")])
def test_what_is_not_a_vocabulary(characters):
    with pytest.raises(BadInput, match="not a vocabulary"):
        Vocabulary(characters)


@pytest.mark.parametrize("index", [-1, 3])
def test_index_outside_the_vocabulary(index):
    with pytest.raises(BadInput, match=f"index {index} is not in the vocabulary"):
        Vocabulary.from_words(["av"]).decode([0, index])


# Examples


def published_loop(words, vocabulary, block_size):
    """The exercise's own way to make the examples, a character at a time."""
    contexts, targets = [], []
    for word in words:
        context = [0] * block_size
        for index in [*vocabulary.encode(word), 0]:
            contexts.append(context)
            targets.append(index)
            context = [*context[1:], index]
    return torch.tensor(contexts), torch.tensor(targets)


@pytest.mark.parametrize("block_size", [1, 2, 3, 7])
@pytest.mark.parametrize("words", [["emma", "ava"], ["a"], ["ab", "", "c"], [""]], ids=str)
def test_examples_are_those_of_the_published_loop(words, block_size):
    vocabulary = Vocabulary.from_words(["emma", "ava", "abc"])
    contexts, targets = build_dataset(words, vocabulary, block_size)
    expected_contexts, expected_targets = published_loop(words, vocabulary, block_size)
    assert contexts.dtype == targets.dtype == torch.int64
    assert contexts.is_contiguous()
    assert torch.equal(contexts, expected_contexts)
    assert torch.equal(targets, expected_targets)


def test_all_built_in_names_take_less_than_a_second(names):
    vocabulary = Vocabulary.from_words(names)
    start = time.process_time()
    contexts, targets = build_dataset(names, vocabulary)
    assert time.process_time() - start < 1
    assert contexts.shape == (sum(map(len, names)) + len(names), 3)
    assert torch.equal(targets, published_loop(names, vocabulary, 3)[1])


def test_no_words_make_no_examples():
    contexts, targets = build_dataset([], Vocabulary.from_words(["a"]), 5)
    assert contexts.shape == (0, 5)
    assert targets.shape == (0,)


@pytest.mark.parametrize("word", ["a.a", "."])
def test_boundary_in_an_example(word):
    with pytest.raises(BadInput, match=r"has a '\.' in it"):
        build_dataset(["a", word], Vocabulary.from_words(["a"]))


def test_unknown_character_in_an_example():
    with pytest.raises(BadInput, match="character 'b' of 'ab' is not in the vocabulary"):
        build_dataset(["a", "ab"], Vocabulary.from_words(["a"]))


@pytest.mark.parametrize("block_size", [0, -1])
def test_block_size_below_one(block_size):
    with pytest.raises(BadInput, match=f"the block size is {block_size}"):
        build_dataset(["a"], Vocabulary.from_words(["a"]), block_size)


# The split


def test_split_is_the_published_one(names):
    words = list(names)
    random.seed(42)
    random.shuffle(words)
    first, second = int(0.8 * len(words)), int(0.9 * len(words))
    assert split(names) == (words[:first], words[first:second], words[second:])


def test_split_leaves_its_argument_and_the_global_generator_alone():
    words = list("abcdefghij")
    random.seed(1)
    before = random.getstate()
    assert split(words, seed=1) != split(words, seed=2)
    assert random.getstate() == before
    assert words == list("abcdefghij")


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 10, 11, 99])
def test_no_part_is_empty(count):
    words = [str(i) for i in range(count)]
    parts = split(words)
    assert all(parts)
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(words)
    if count >= 6:
        assert [len(part) for part in parts[:2]] == [
            int(0.8 * count),
            int(0.9 * count) - int(0.8 * count),
        ]


def test_split_of_two_words():
    assert [len(part) for part in split(["a", "b"])] == [1, 1, 0]
