"""What passes between the process that runs a file and the one that judges it."""

from __future__ import annotations

import json
import socket
import struct

import pytest
import torch

import handgrad as hg
from handgrad.check.handover import trace_data, trace_of
from handgrad.check.pack import BadTalk, Opaque, Packed, unpacked
from handgrad.check.plain import Plain, resolved
from handgrad.check.talk import Ended, Talk
from handgrad.errors import Undecided, UserCodeFailed

PLAIN = Plain({"x", "dh", "W", "n", "ix"})


def there_and_back(value):
    packed = Packed()
    data = json.loads(json.dumps(packed.data(value)))
    return unpacked(data, b"".join(packed.parts))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -(2**70),
        0.1,
        float("inf"),
        "text",
        (1, [2.5, "x"], slice(None, 3)),
        range(2, 9, 3),
        ...,
        torch.float16,
        {"a": (1,), "b": None},
    ],
)
def test_a_value_goes_there_and_back(value):
    again = there_and_back(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 5)])
def test_a_tensor_goes_there_and_back(dtype: torch.dtype, shape: tuple[int, ...]):
    value = (torch.randn(shape) * 3).to(dtype)
    again = there_and_back((value, value.mT if value.ndim > 1 else value))
    assert torch.equal(again[0], value)
    assert again[0].dtype is dtype
    assert again[1].shape == (value.mT if value.ndim > 1 else value).shape


def test_what_is_no_data_stays_where_it_is():
    assert there_and_back(print) == Opaque("builtin_function_or_method", "builtins")
    assert there_and_back([torch]) == [Opaque("module", "torch")]
    assert there_and_back(torch.randn(2) + 1j).kind == "Tensor"


@pytest.mark.parametrize(
    "data",
    [
        ["tensor", "float32", [2], 0],
        ["tensor", "float32", [2], -8],
        ["tensor", "float32", [-1], 0],
        ["tensor", "float32", [2**40, 2**40], 0],
        ["tensor", "complex64", [], 0],
        ["tensor", "float32", [1], "0"],
        ["tensor"],
        ["pickle", "abc"],
        ["slice", 1, 2],
        ["slice", "a", 2, 3],
        ["float", "nonsense"],
        ["dict", ["a"]],
        ["dict", [1, 2]],
        ["opaque", 3, ""],
        [],
        [[]],
        {"a": 1},
        1.5,
    ],
)
def test_broken_data_is_refused(data):
    with pytest.raises(BadTalk):
        unpacked(data, b"1234")


def test_data_without_end_is_refused():
    data: list = ["list"]
    for _ in range(200):
        data = ["list", data]
    with pytest.raises(BadTalk):
        unpacked(data, b"")


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">IQ", 2**31, 0),
        struct.pack(">IQ", 2, 2**60) + b"{}",
        struct.pack(">IQ", 3, 0) + b"{]}",
        struct.pack(">IQ", 2, 0) + b"[]",
        struct.pack(">IQ", 100_000, 0) + b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(sent: bytes):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(sent)
        with pytest.raises(BadTalk):
            Talk(other, 2**20).hear()
        one.close()
        with pytest.raises(Ended):
            Talk(other, 2**20).hear()


@pytest.mark.parametrize(
    "text",
    [
        "dW = x.T @ dh",
        "dh = torch.zeros_like(x)\ndh[ix] += x[:, 0]",
        "for k in range(x.shape[0]):\n    dh[k] = dh[k] * n",
        "dh = torch.stack([dh[k] * 2 for k in range(len(dh))])",
        "dh = torch.nn.functional.one_hot(ix, num_classes=n).to(x.dtype)",
        "v = torch.einsum('ij,jk->ik', x, W) if n > 2 else -W",
        "dh.index_add_(0, ix, x)",
        "import torch.nn.functional as F",
        "with torch.no_grad():\n    dh = x.max(1, keepdim=True).values",
    ],
)
def test_plain_torch_is_plain(text: str):
    assert PLAIN.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "x.__class__",
        "dW = x.__reduce__()",
        "dW = open('f')",
        "dW = eval('1')",
        "dW = torch.load('f')",
        "dW = torch.ops.aten.relu(x)",
        "dW = torch.empty(3)",
        "dW = x.new_empty(3)",
        "dW = torch._C._cuda_init()",
        "dW = torch.autograd.grad(x, W)",
        "dW = x.numpy()",
        "dW = x.grad",
        "x.register_hook(print)",
        "x.apply_(lambda v: v)",
        "torch.exp = torch.sum",
        "torch.Tensor.sum = 3",
        "torch = 3",
        "range = x",
        "sum = x\ndW = sum(x)",
        "dW = helper(x)",
        "dW = __import__('os')",
        "dW = __builtins__",
        "dW = (lambda: x)()",
        "def f(): pass",
        "while True: pass",
        "del x",
        "global x",
        "dW = f'{x}'",
        "dW = [*map(x.add, W)]",
        "dW = 'a'.format(x)",
        "dW = x if (y := 1) else W",
        "dW = torch.randn(3)",
        "dW = unknown + 1",
        "dW = ] 1",
        "from torch import *",
        "import torch.serialization as F",
    ],
)
def test_anything_else_is_not(text: str):
    assert not PLAIN.text(text)


def test_an_index_is_plain_by_itself_only():
    assert PLAIN.index("1:n, ..., None")
    assert PLAIN.index("n - 1")
    assert not PLAIN.index("0] + open('f')[0")
    assert not PLAIN.index("x.grad")


def test_functions_are_found_by_the_names_that_torch_gives_them():
    assert resolved("torch.cumprod") is torch.cumprod
    assert resolved("torch.Tensor.cumprod") is torch.Tensor.cumprod
    for name in (
        "torch.load",
        "os.system",
        "torch.serialization.os.system",
        "torch.empty",
        "torch",
    ):
        assert resolved(name) is None


def trace():
    def forward(x, W):
        n = x.shape[0]
        h = torch.tanh(x @ W)
        p = torch.logcumsumexp(h, 1)
        loss = p.sum() / n
        return loss

    generator = torch.Generator().manual_seed(1)
    x, W = torch.randn(3, 5, generator=generator), torch.randn(5, 2, generator=generator)
    return hg.trace(forward, x, W)


def handed_over(change=lambda data: None):
    data = trace_data(trace())
    change(data)
    return trace_of({key: there_and_back(value) for key, value in data.items()})


def test_a_trace_goes_there_and_back():
    again, was = handed_over(), trace()
    assert [line.text for line in again.lines] == [line.text for line in was.lines]
    assert again.leaves == was.leaves
    assert all(torch.equal(again.grads[name], grad) for name, grad in was.grads.items())
    assert all(torch.equal(again.values[name], value) for name, value in was.values.items())


def last_line(**new):
    return lambda data: data["lines"][-1].update(new)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(output="h2"),
        lambda d: d.update(leaves=["y"]),
        lambda d: d.update(values={**d["values"], "__builtins__": torch.ones(1)}),
        lambda d: d.update(values={**d["values"], "torch": torch.ones(1)}),
        lambda d: d.update(aliases={"a": "no"}),
        lambda d: d.update(upstream=torch.ones(2)),
        lambda d: d.update(given=1),
        lambda d: d.update(nodes=[["call", ["row", "no such"], {}, [], False]]),
        lambda d: d.update(nodes=[["item", 3, 0]]),
        lambda d: d.update(nodes=[["name", "x"]]),
        lambda d: d.update(lines=d["lines"][:-1]),
        lambda d: d["lines"][0].update(expr=10**6),
        lambda d: d["lines"][0].update(text=5),
        last_line(targets=[]),
    ],
)
def test_a_trace_is_looked_at_part_by_part(change):
    with pytest.raises(BadTalk):
        handed_over(change)


def test_a_line_must_give_its_value_here_too():
    with pytest.raises(UserCodeFailed, match="another value"):
        handed_over(lambda d: d["values"].update(loss=d["values"]["loss"] + 1))


def test_a_text_that_is_more_than_plain_is_spelled_anew():
    again = handed_over(last_line(text="loss = (open('f'), p.sum() / n)[1]"))
    assert "open" not in again.lines[-1].text


def test_a_function_that_may_not_be_called_here_is_named():
    def change(data):
        for node in data["nodes"]:
            if node[0] == "call" and node[1][0] == "foreign":
                node[1][1] = "torch.load"

    with pytest.raises(Undecided, match=r"torch\.load"):
        handed_over(change)
