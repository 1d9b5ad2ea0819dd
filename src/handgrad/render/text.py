"""What all text in a terminal goes through: nothing in it can move the cursor or hide a word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import rich.console
from rich.segment import Segment
from rich.text import Text as AnyText

from handgrad.escape import escaped


class Text(AnyText):
    """Rich's text, escaped before it is measured."""

    def __init__(self, text: str = "", *args: Any, **options: Any) -> None:
        super().__init__(escaped(text), *args, **options)

    def append(self, text: AnyText | str, style: Any = None) -> Self:
        """Add text."""
        super().append(escaped(text) if isinstance(text, str) else text, style)
        return self


class Console(rich.console.Console):
    """Rich's console: whatever is printed is escaped, and no text is read as markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> AnyText:
        """Return a str as text: escaped before it is measured."""
        return super().render_str(escaped(text), **options)

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Yield what a renderable consists of."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(escaped(part.text), part.style)
