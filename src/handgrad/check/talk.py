"""What two processes say to each other over a socket: lengths, JSON, then the bytes of tensors."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from handgrad.check.pack import BadTalk, Broken, Packed, unpacked

LENGTHS = struct.Struct(">IQ")  # bytes of JSON, bytes of tensors
LARGEST = 64 * 2**20  # bytes of JSON in one message
CHUNK = 2**20
T = TypeVar("T")


class Ended(Broken):
    """The other side is gone."""


@dataclass(frozen=True)
class Talk:
    """One end of a conversation.

    Attributes:
        line: the socket.
        most: bytes of tensors that one message may have.
    """

    line: socket.socket
    most: int

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            Ended: nobody listens.
        """
        packed = Packed()
        head = json.dumps({key: packed.data(value) for key, value in message.items()}).encode()
        try:
            self.line.sendall(LENGTHS.pack(len(head), packed.size) + head)
            for part in packed.parts:
                self.line.sendall(part)
        except OSError as error:
            raise Ended from error

    def hear(self) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            BadTalk: what comes is none.
            Ended: nothing will come.
        """
        head, body = LENGTHS.unpack(self.exactly(LENGTHS.size))
        if head > LARGEST or body > self.most:
            raise BadTalk("a message is too large")
        text, tensors = self.exactly(head), self.exactly(body)
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadTalk("a message is no JSON") from error
        if not isinstance(data, dict):
            raise BadTalk("a message has no parts")
        return {key: unpacked(value, tensors) for key, value in data.items()}

    def exactly(self, count: int) -> bytes:
        """Return as many bytes as asked for."""
        found = bytearray()
        while len(found) < count:
            try:
                data = self.line.recv(min(CHUNK, count - len(found)))
            except OSError as error:
                raise Ended from error
            if not data:
                raise Ended
            found += data
        return bytes(found)


def part(message: Any, key: str, kind: type[T]) -> T:
    """Return a part of a message, of the type that it must have.

    Raises:
        BadTalk: it is not there, or is something else.
    """
    value = message.get(key) if isinstance(message, dict) else None
    fits = isinstance(value, kind) if issubclass(kind, torch.Tensor) else type(value) is kind
    if not fits:
        raise BadTalk(f"{key} is no {kind.__name__}")
    return value  # pyright: ignore[reportReturnType]


def texts(message: Any, key: str) -> tuple[str, ...]:
    """Return a part of a message that is a list of texts.

    Raises:
        BadTalk: it is none.
    """
    return tuple(each(value, str) for value in part(message, key, list))


def each(value: Any, kind: type[T]) -> T:
    """Return a value that must be of a type.

    Raises:
        BadTalk: it is of another.
    """
    if type(value) is not kind:
        raise BadTalk(f"something is no {kind.__name__}")
    return value
