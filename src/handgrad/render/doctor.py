"""What there is on a machine, and what a file that is checked may do there, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from handgrad.render.blocks import Block, Columns, Heading, Paragraph

Found = Mapping[str, Any]

# what a contained process tried: said if it could not, and if it could
TRIED = {
    "tcp": ("connects to no computer, nor to a server on this one", "connects to any computer"),
    "udp": ("sends nothing by UDP", "sends by UDP, looks up names"),
    "write": ("makes no file outside its temporary folder", "makes files wherever you can"),
    "change": ("changes no file of yours", "changes every file that you can change"),
    "delete": ("deletes no file of yours", "deletes every file that you can delete"),
    "signal": ("ends no other process of yours", "ends other processes of yours"),
}
ALWAYS = (
    ("sees none of your environment's variables, such as tokens", "empty environment"),
    ("leaves nothing running, and no files", "the process that watches it"),
    ("does not judge itself", "a process that never runs it"),
)
NEVER = (
    "reads every file that you can read, and may print it",
    "speaks to sockets in the file system, such as Docker's",
    "uses processor and memory up to the limits",
)
NONE = "This system has no /proc: `check` runs the file in its own process, with all your rights."
UNLIMITED = (
    "`shapes`, `derive`, `simplify`, `explain`, `compile` of a FILE, `check --no-sandbox` and "
    "handgrad in Python run the file with all your rights, as `python FILE` does. Use them on "
    "files that you trust."
)


def report(found: Found) -> list[Block]:
    """Return all of it."""
    return [
        Heading("handgrad doctor", 1),
        Columns(("what", "here"), tuple(machine(found))),
        *contained(found),
        Heading("Not in the sandbox"),
        Paragraph(UNLIMITED),
        Heading("Next"),
        *(Paragraph(text) for text in advice(found)),
    ]


def contained(found: Found) -> Iterator[Block]:
    """Yield what the sandbox holds, and what it does not."""
    told = found["sandbox"]
    if not told["there"]:
        yield Heading("There is no sandbox")
        yield Paragraph(NONE, warning=True)
        return
    yield Heading(f"The sandbox of `check` and `watch` holds: {told['level']}")
    yield Columns(("", "a file that is checked", "by"), tuple(sandbox(told)))
    yield Paragraph("Limits: " + limits(found) + ".")


def machine(found: Found) -> Iterator[tuple[str, str]]:
    """Yield what there is on the machine."""
    yield from ((name, text) for name, text in found["versions"].items())
    yield "system", found["system"]
    yield "C compiler", found["compiler"]
    bits = 8 * found["vector_bytes"]
    yield "vectors", f"{found['vector_bytes']} bytes ({bits} bits, {bits // 32} numbers in float32)"
    yield "cache", found["cache"]


def sandbox(told: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what a file is kept from, and what it is not."""
    could, means = told["could"], told["means"]
    for name, (held, _) in TRIED.items():
        if not could[name]:
            yield "held", held, by(name, means)
    yield from (("held", text, means) for text, means in ALWAYS)
    for name, (_, free) in TRIED.items():
        if could[name]:
            yield "open", free, ""
    yield from (("open", text, "") for text in NEVER)


def by(name: str, means: Mapping[str, Any]) -> str:
    """Return what keeps a file from something."""
    landlock = f"Landlock {means['landlock']}"
    if name in ("tcp", "udp"):
        parts = ["network namespace"] * means["network"]
        parts += [landlock] * (name == "tcp" and means["landlock"] >= 4)
    elif name == "signal":
        parts = [landlock] * (means["landlock"] >= 6)
    else:
        parts = ["read-only mounts"] * means["mounts"] + [landlock] * (means["landlock"] >= 1)
    return ", ".join(parts)


def limits(found: Found) -> str:
    """Return what a file may use."""
    told = found["limits"]
    return (
        f"{told['seconds']:g} s of time (--time), {told['processor_seconds']:g} s of the "
        f"processor, {told['memory'] / 2**30:g} GiB of memory (--memory), "
        f"{told['file'] / 2**20:g} MiB a file, {told['printed'] / 2**20:g} MiB of output, "
        f"{told['processes']} processes"
    )


def advice(found: Found) -> Iterator[str]:
    """Yield what can be done to have more."""
    there, could = found["sandbox"]["there"], found["sandbox"]["could"]
    if found["compiler"] == "none":
        yield (
            "No C compiler, so steps run in eager PyTorch: install gcc or clang, or "
            "`pip install 'handgrad[zig]'`."
        )
    if found["cache"].startswith("none"):
        yield "Nothing compiled is kept: make the cache folder writable, or set XDG_CACHE_HOME."
    if there and (could["tcp"] or could["udp"]):
        yield (
            "The network is open to a file that is checked. It needs Linux with user namespaces "
            "(in Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or check in a "
            "container without network: docker run --network none."
        )
    if there and (could["write"] or could["change"] or could["delete"]):
        yield (
            "Your files are open to a file that is checked. It needs Linux 5.13 with Landlock, or "
            "user namespaces; or check in a container that has only what it may change."
        )
    if found["root"]:
        yield "You are root: the limit on processes does not hold, and a file reads all there is."
    yield "More of this: docs/sandbox.md. Try it: handgrad check FILE."
