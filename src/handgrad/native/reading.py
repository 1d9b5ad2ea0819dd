"""A function as text: its code and all that it reads, exactly, or not at all.

Two functions with the same text do the same with the same arguments, and the text changes when the
function, a function that it calls, or a value that it reads from outside does.
"""

from __future__ import annotations

import builtins
import dis
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

PLAIN = (int, float, complex, bool, str, bytes, type(None), type(...), range)
TORCH_PLAIN = (torch.dtype, torch.device, torch.Size)
HOLDERS = (tuple, list, set, frozenset)
PURE = (
    *("abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float"),
    *(
        "int",
        "isinstance",
        "iter",
        "len",
        "list",
        "map",
        "max",
        "min",
        "pow",
        "print",
        "next",
        "range",
        "reversed",
    ),
    *("round", "slice", "sorted", "str", "sum", "tuple", "zip"),
)
PURE_MODULES = {"math", "_operator", "torch._C._nn", "torch._C._linalg", "torch._C._special"}
TORCH_MODULES = {"torch.nn.functional", "torch.functional"}
CLASSES = {torch.Tensor, torch.no_grad, torch.enable_grad}
GENERIC = {  # what looks an attribute up in no way of its own
    each.__getattribute__
    for each in (object, types.ModuleType, types.FunctionType, types.SimpleNamespace)
}
ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
PASSED = {"LOAD_CLOSURE", "MAKE_CELL", "COPY_FREE_VARS"}
INNER = {"LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF"}
REFUSED = {"LOAD_BUILD_CLASS", "BUILD_SET"}  # a set of texts has another order in each process
TORCH, STANDARD = (str(Path(file).parent) for file in (torch.__file__, types.__file__))
OWN = str(Path(__file__).parents[1])


class Untold(Exception):
    """What something stands for cannot be told exactly, such as `open` or an object's state."""


@dataclass
class Reader:
    """Tells values as text.

    Attributes:
        functions: those that were told, with their number; a function may call itself.
    """

    functions: dict[types.FunctionType, int] = field(default_factory=dict)

    def told(self, value: Any) -> Iterator[str]:
        """Yield what a value is.

        Raises:
            Untold: that cannot be said.
        """
        kind = type(value)
        if kind in PLAIN or kind in TORCH_PLAIN:
            yield f"{kind.__name__} {value!r}"
        elif kind in HOLDERS:
            yield f"{kind.__name__} {len(value)}"
            for part in value:
                yield from self.told(part)
        elif kind is dict:
            yield f"dict {len(value)}"
            for key, part in value.items():
                yield from self.told(key)
                yield from self.told(part)
        elif kind is slice:
            yield from self.told((value.start, value.stop, value.step))
        else:
            yield from self.called(value)

    def called(self, value: Any) -> Iterator[str]:
        """Yield what something is that can be called."""
        if is_pure(value):
            yield f"known {value.__module__} {value.__qualname__} {value.__name__}"
        elif isinstance(value, types.FunctionType):
            yield from self.function(value)
        else:
            raise Untold(f"a {type(value).__name__}")

    def function(self, function: types.FunctionType) -> Iterator[str]:
        """Yield a function's code, its defaults and what it reads from outside."""
        if function in self.functions:
            yield f"again {self.functions[function]}"
            return
        self.functions[function] = len(self.functions)
        code = function.__code__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        try:
            free = {name: cell.cell_contents for name, cell in cells.items()}
        except ValueError:
            raise Untold("a name of an outer function that is not bound") from None
        yield from self.told(function.__defaults__)
        yield from self.told(function.__kwdefaults__)
        yield from self.told(vars(function))
        spaces = function.__globals__, vars(builtins)
        if function.__builtins__ is not spaces[1]:  # pyright: ignore[reportAttributeAccessIssue]
            raise Untold("builtins of its own")
        yield from self.code(code, free, spaces[1] | spaces[0])

    def code(
        self, code: types.CodeType, free: Mapping[str, Any], known: Mapping[str, Any]
    ) -> Iterator[str]:
        """Yield what a code object does.

        Args:
            code: the instructions.
            free: the values of its outer functions' names.
            known: its global names.
        """
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        yield f"code {code.co_name} {numbers} {code.co_flags} {folder_of(code.co_filename)}"
        yield f"{code.co_code!r} {code.co_exceptiontable!r}"
        yield f"{code.co_names} {code.co_varnames} {code.co_freevars} {code.co_cellvars}"
        inner = {name: value for name, value in free.items() if name not in code.co_cellvars}
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self.code(constant, inner, known)
            else:
                yield from self.told(constant)
        for path, value in outside(code, inner, known):
            yield path
            yield from self.told(value)


def outside(
    code: types.CodeType, free: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield what a code object reads from outside: `torch.tanh`, `config.size`, with its value.

    Names of a function around it that is told too, code and all, are not outside.

    Raises:
        Untold: it reads in a way that cannot be followed, such as an import.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for place, step in enumerate(steps):
        name = step.argval
        if step.opcode in dis.hasname:
            if step.opname in ATTRIBUTES and not name.startswith("__"):
                continue
            held = known if step.opname == "LOAD_GLOBAL" else {}
        elif step.opcode in dis.hasfree:
            if step.opname in PASSED or (step.opname in INNER and name not in free):
                continue
            held = free if step.opname == "LOAD_DEREF" else {}
        elif step.opname in REFUSED:
            held = {}
        else:
            continue
        if name not in held:
            raise Untold(f"{step.opname} {name}")
        yield followed(name, held[name], steps[place + 1 :])


def followed(name: str, value: Any, steps: list[dis.Instruction]) -> tuple[str, Any]:
    """Follow the attributes that are read of a value at once: `torch` to `torch.nn.functional`."""
    path = [name]
    for step in steps:
        if step.opname not in ATTRIBUTES or is_whole(value):
            break
        path.append(step.argval)
        value = attribute(value, step.argval)
    return ".".join(path), value


def attribute(value: Any, name: str) -> Any:
    """Return an attribute that is stored under its name, by no code of anybody's.

    Raises:
        Untold: it is not.
    """
    kind = type(value)
    stored = getattr(value, "__dict__", {}) if kind.__getattribute__ in GENERIC else {}
    above = any(name in vars(each) for each in kind.__mro__)
    if kind is type and type(vars(value).get(name, value)) in PLAIN:
        return vars(value)[name]
    if kind is type or above or name not in stored:
        raise Untold(f".{name} of a {kind.__name__}")
    return stored[name]


def is_whole(value: Any) -> bool:
    """Tell whether a value is told with all that can be read of it."""
    kind = type(value)
    return kind in (*PLAIN, *TORCH_PLAIN, *HOLDERS, dict, slice) or is_pure(value)


def is_pure(value: Any) -> bool:
    """Tell whether something is Python's or torch's own, and its result that of its arguments."""
    name, module = getattr(value, "__name__", ""), getattr(value, "__module__", None)
    if isinstance(value, type):
        own = getattr(builtins, name, None) is value
        return value in CLASSES or (own and (name in PURE or issubclass(value, BaseException)))
    if isinstance(value, types.BuiltinFunctionType):
        if module == "builtins":
            return name in PURE
        method = module == "torch" and value.__qualname__.startswith("_VariableFunctionsClass.")
        return method or module in PURE_MODULES
    if isinstance(value, types.FunctionType) and module in TORCH_MODULES:
        return value.__code__.co_filename.startswith(TORCH)
    return False


def folder_of(file: str) -> str:
    """Return a file that belongs to a library; all others are the user's, wherever they lie."""
    return file if "-packages" in file or file.startswith((STANDARD, OWN)) else ""
