"""A check as plain text, as JSON, as JUnit's XML and as GitHub's workflow commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from handgrad.check.picture import Picture
from handgrad.check.report import Row, Verdict
from handgrad.errors import HandgradError
from handgrad.escape import escaped
from handgrad.render import verdicts
from handgrad.render.plain import columns
from handgrad.render.verdicts import HEADS, Shown


def plain(shown: Shown) -> str:
    """Return the table, each row that needs a word, and the summary."""
    rows = [HEADS, *(verdicts.cells(row) for row in shown.report.rows)]
    lines = list(columns(rows, indent=""))
    if shown.all:
        sources = [f"    {row.line}" if row.line else "" for row in shown.report.rows]
        pairs = zip(lines[1:], sources, strict=True)
        lines = [lines[0], *(text for pair in pairs for text in pair if text)]
    blocks = [lines, *(list(details(row, shown)) for row in verdicts.told(shown.report))]
    notes = [*verdicts.notes(shown.report), *shown.checked.notes]
    blocks.append([*notes, verdicts.summary(shown.report)])
    return escaped("\n\n".join("\n".join(block) for block in blocks)) + "\n"


def details(row: Row, shown: Shown) -> Iterator[str]:
    """Yield the lines that say what is wrong with a row."""
    yield f"{verdicts.place(row, shown.file)}: {row.name}: {row.verdict.value}"
    if row.line:
        yield f"    {row.line}"
    for sentence in verdicts.sentences(row):
        yield from (f"  {line}" for line in sentence.splitlines())
    if shown.hints and verdicts.suggestion(row):
        first, *rest = verdicts.suggestion(row).splitlines()
        yield f"  try: {first}"
        yield from (f"       {line}" for line in rest)
    found = shown.picture(row)
    if found is not None:
        yield from (f"  {line}" for line in drawn(found))
        yield f"  {verdicts.caption(found)}"


def drawn(picture: Picture) -> Iterator[str]:
    """Yield the rows of a picture in ASCII: `.` is right, `-`, `+`, `#` wrong."""
    for row in picture.cells:
        yield "".join("-+#"[min(int(level * 3), 2)] if level else "." for level in row)


def as_data(shown: Shown) -> dict[str, Any]:
    """Return everything as plain data."""
    pictures = {name: each.to_dict() for name, each in shown.checked.pictures.items()}
    report = shown.report
    return {
        "file": shown.file,
        **report.to_dict(),
        "summary": verdicts.summary(report),
        "exit_code": report.exit_code,
        "pictures": pictures,
        "notes": list(shown.checked.notes),
    }


def junit(shown: Shown) -> str:
    """Return a test suite with a test case for each gradient."""
    suite = ElementTree.Element("testsuite", name=escaped(shown.file))
    counts = {"failures": 0, "skipped": 0}
    for row in shown.report.rows:
        place = {"file": escaped(shown.file), **({"line": str(row.number)} if row.number else {})}
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": escaped(shown.file), "name": escaped(row.name), **place},
        )
        if row.verdict.good:
            continue
        failed = row.verdict in (*verdicts.BAD, Verdict.TO_DO)
        counts["failures" if failed else "skipped"] += 1
        child = ElementTree.SubElement(
            case, "failure" if failed else "skipped", message=escaped(row.verdict.value)
        )
        child.text = escaped("\n".join(details(row, shown)))
    totals = {"tests": len(shown.report.rows), "errors": 0, **counts}
    suite.attrib.update({key: str(value) for key, value in totals.items()})
    return document(suite)


def junit_error(error: HandgradError, file: str) -> str:
    """Return a test suite for a file that could not be checked."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    suite = ElementTree.Element("testsuite", {"name": escaped(file), **counts})
    case = ElementTree.SubElement(suite, "testcase", classname=escaped(file), name="check")
    ElementTree.SubElement(case, "error", message=escaped(error.what)).text = escaped(error.message)
    return document(suite)


def document(suite: ElementTree.Element) -> str:
    """Return XML text."""
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def github(shown: Shown) -> str:
    """Return a workflow command for each row that is not right: it marks the line in a review."""
    commands = []
    for row in shown.report.rows:
        if row.verdict.good:
            continue
        level = "warning" if row.verdict in (Verdict.UNTESTED, Verdict.UNCONFIRMED) else "error"
        told = [f"{row.name}: {row.verdict.value}", *verdicts.sentences(row)]
        if verdicts.suggestion(row):
            told.append(f"try: {verdicts.suggestion(row)}")
        commands.append(command(level, shown.file, row.number, row.name, "\n".join(told)))
    return "".join(commands) + verdicts.summary(shown.report) + "\n"


def github_error(error: HandgradError, file: str) -> str:
    """Return a workflow command for a file that could not be checked."""
    _, _, line = error.where.rpartition(":")
    return command("error", file, int(line) if line.isdecimal() else 0, "check", error.message)


def command(level: str, file: str, line: int, title: str, message: str) -> str:
    """Return one workflow command, escaped."""
    places = {"file": file, **({"line": str(line)} if line else {}), "title": title}
    told = ",".join(f"{key}={in_command(value, ':,')}" for key, value in places.items())
    return f"::{level} {told}::{in_command(message)}\n"


def in_command(text: str, more: str = "") -> str:
    """Return a text in which the characters that end a part of a command are written in hex."""
    return "".join(f"%{ord(c):02X}" if c in "%\n" + more else c for c in escaped(text))
