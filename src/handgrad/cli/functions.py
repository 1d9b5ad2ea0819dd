"""`handgrad derive --as function`: a `torch.autograd.Function` as a file."""

from __future__ import annotations

from pathlib import Path

from handgrad.cli.save import save
from handgrad.cli.screen import aside, show, tell, write
from handgrad.emit.function import Emitted, function, of_lines
from handgrad.render import words
from handgrad.trace.files import chosen_leaves, function_in, split_target, trace_file


def write_function(
    target: str, output: Path | None, strict: bool, force: bool, json: bool, no_color: bool
) -> None:
    """Show the Function for a forward pass, or write it to a file."""
    with aside():
        found = emitted(target, strict)
    wrote = ""
    if output is not None and (str(output) != "-" or json):
        path, _ = split_target(target)
        save(found.source, output, source=path, force=force)
        wrote = str(output)
    if output is not None and str(output) == "-" and not json:
        write(found.source)
    elif output is None or json:
        present(found, wrote, json, no_color)
    kept = ", ".join(found.residuals) or "nothing"
    done = f"{found.__name__} saves {kept}; its gradients are autograd's"
    notes = [*words.paragraphs(found.notes), *words.no_rules(found.unruled)]
    tell(notes, json, no_color, f"wrote {wrote}: {done}" if wrote else done)


def emitted(target: str, strict: bool) -> type[Emitted]:
    """Return the Function for `FILE[:FUNCTION]`; what is called `forward` is named as its file."""
    path, chosen = split_target(target)
    stem = path.stem if path.stem.isidentifier() else "forward"
    with function_in(target) as found:
        if found is None:
            return of_lines(trace_file(target), stem, strict=strict)
        forward, given = found
        name = stem if getattr(forward, "__name__", "") == "forward" and chosen is None else ""
        leaves = chosen_leaves(forward, given)
        return function(forward, wrt=leaves, strict=strict, name=name, **given)


def present(found: type[Emitted], wrote: str, json: bool, no_color: bool) -> None:
    """Show the text of a Function."""

    def rich(_: int):
        from handgrad.render import terminal

        return terminal.listing(found.source.rstrip())

    written = {"written": wrote} if wrote else {}
    plain = {"function": found.__name__, "saved": list(found.residuals), "source": found.source}
    notes = [{"kind": note.kind, "text": note.text} for note in found.notes]
    plain |= {"notes": notes, "without_rule": [name for name, _ in found.unruled]}
    show(
        rich=rich,
        plain=lambda: found.source,
        as_data=lambda: {**plain, **written},
        json=json,
        no_color=no_color,
    )
