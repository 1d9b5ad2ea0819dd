"""Whether a statement makes anything, or only checks and tells."""

from __future__ import annotations

import ast

SPEAKERS = {
    *("print", "warn", "debug", "info", "warning", "error", "write", "log", "add_scalar"),
    *("_assert", "_check", "assert_async", "set_postfix"),
}


def only_checks(statement: ast.stmt | None) -> bool:
    """Tell whether a statement makes nothing."""
    if isinstance(statement, ast.If):
        return not statement.orelse and all(map(only_checks, statement.body))
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) or says(statement.value)
    return isinstance(statement, ast.Assert | ast.Raise | ast.Pass)


def says(call: ast.expr) -> bool:
    """Tell whether an expression calls what prints, warns, or writes to a log."""
    if not isinstance(call, ast.Call):
        return False
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in SPEAKERS
