"""Pages that are carried out when the site is built: what each block printed and drew stands below it on the site.

Such a page begins with the mark ``<!-- executed -->``. Its blocks are one session in a folder of its own, in order:
``<!-- file: NAME -->`` in front of a block is a file that is written, ``<!-- run -->`` lines of the command line (with
``<!-- run: WORDS -->`` every `run` among them gets these words too, such as fewer dies, and the output says so), and
``<!-- python -->`` code whose last expression is shown, as a notebook shows it. A block without a mark is only read.
The first error ends the build. The page can be had as a notebook (nbformat 4.5) with its outputs.
"""

import ast
import base64
import io
import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

EXECUTED = "<!-- executed -->"
_BLOCK = re.compile(r"<!-- (file: [^>]+|run(?:: [^>]+)?|python) -->\n```(\w+)\n(.*?)```\n", re.S)
_MOST_LINES = 44
"""Lines of a command or of code that are shown; of more the middle is left out."""


@dataclass(frozen=True)
class Block:
    """A part of a page: prose (kind ""), or a block with what came of it.

    Args:
        kind: "", "file", "run" or "python".
        text: Markdown, or the content of the block.
        name: of the file, or what every `run` gets besides.
        printed: on both streams.
        html: what the last expression shows of itself.
        pictures: PNG files that were drawn.
    """

    kind: str
    text: str
    name: str = ""
    language: str = ""
    printed: str = ""
    html: str = ""
    pictures: tuple[bytes, ...] = field(default=(), repr=False)


class PageError(Exception):
    """A block of a page ended with an error; the message says which, and with what."""


def split(text: str) -> Iterator[Block]:
    """Yield the parts of a page, not carried out."""
    end = 0
    for match in _BLOCK.finditer(text):
        yield Block("", text[end : match.start()])
        kind, _, name = match[1].partition(": ")
        yield Block(kind, match[3], name, match[2])
        end = match.end()
    yield Block("", text[end:])


def execute(text: str, page: str) -> list[Block]:
    """Carry out the blocks of a page in a folder that is deleted afterwards.

    Raises:
        PageError: a block ended with an error, or a command with another exit code than 0 or 1.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    scope: dict[str, Any] = {"__name__": "notebook"}
    done = []
    with TemporaryDirectory(prefix="page-") as folder, chdir(folder), _in_this_process():
        for block in split(text):
            try:
                done.append(_carried_out(block, scope))
            except (Exception, SystemExit) as error:
                words = block.text.strip().partition("\n")[0]
                raise PageError(f"{page}: '{words}': {type(error).__name__}: {error}") from error
    return done


@contextmanager
def _in_this_process() -> Iterator[None]:
    """Write the report at the end of a run in this process: one of its own costs a second of imports."""
    from labctl.report import subprocess_call
    from labctl.report.html import write_report

    apart = subprocess_call.report_apart

    def here(folder: Path, patience: float = 0.0) -> str:
        write_report(folder)
        return ""

    subprocess_call.report_apart = here
    try:
        yield
    finally:
        subprocess_call.report_apart = apart


def _carried_out(block: Block, scope: dict[str, Any]) -> Block:
    if block.kind == "file":
        Path(block.name).parent.mkdir(parents=True, exist_ok=True)
        Path(block.name).write_text(block.text, encoding="utf-8")
        return block
    if block.kind == "run":
        lines = [line.partition("  #")[0].rstrip() for line in block.text.splitlines()]
        lines = [f"{line} {block.name}".rstrip() if line.startswith("labctl run ") else line for line in lines]
        printed = "\n\n".join(f"$ {line}\n{_shortened(_command(line))}" for line in lines)
        return Block(block.kind, block.text, "", block.language, printed)
    if block.kind == "python":
        with _printed() as out:
            html = _python(block.text, scope)
        pictures = _pictures()
        html = "" if pictures else html  # what matplotlib returns says nothing beside the picture
        return Block(block.kind, block.text, "", block.language, _shortened(out.getvalue()), html, pictures)
    return block


@contextmanager
def _printed() -> Iterator[io.StringIO]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        yield out


def _command(line: str) -> str:
    """Carry out a line of the command line in this process, and return what it printed."""
    from labctl.__main__ import main

    program, *words = shlex.split(line, comments=True)
    if program != "labctl":
        raise ValueError(f"'{program}' is no command that a page carries out; expected labctl")
    if words[0] == "run":  # one process; the results are the same with any number
        words += ["--workers", "1"]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    argv, sys.argv = sys.argv, ["labctl", *words]
    code: object = 0
    try:
        with _printed() as out:
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if code not in (0, 1):
        raise ValueError(f"exit code {code}: {out.getvalue()}")
    return out.getvalue()


def _python(code: str, scope: dict[str, Any]) -> str:
    """Carry out code, and return its last expression as HTML, or ""."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    exec(compile(tree, "page", "exec"), scope)
    value = None if last is None else eval(compile(last, "page", "eval"), scope)
    if value is None:
        return ""
    show = getattr(value, "_repr_html_", None)
    return str(show()) if show else f"<pre>{escape(repr(value))}</pre>"


def _pictures() -> tuple[bytes, ...]:
    """Return the figures that are open, as PNG, and close them."""
    import matplotlib.pyplot as plt

    drawn = []
    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, format="png", dpi=110, bbox_inches="tight")
        drawn.append(file.getvalue())
    plt.close("all")
    return tuple(drawn)


def _shortened(text: str) -> str:
    lines = text.rstrip().splitlines()
    if len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        lines = [*lines[:half], f"... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return "\n".join(lines)


def as_markdown(blocks: list[Block]) -> str:
    """Return a page with the outputs below its blocks."""
    parts = []
    for block in blocks:
        if not block.kind:
            parts.append(block.text)
            continue
        title = f' title="{block.name}"' if block.kind == "file" else ""
        parts.append(f"```{block.language}{title}\n{block.text}```\n")
        if block.printed.strip():
            parts.append(f"\n````text {{.output}}\n{block.printed}\n````\n")
        if block.html:
            parts.append(f'\n<div class="output" markdown="0">{" ".join(block.html.split(chr(10)))}</div>\n\n')
        for picture in block.pictures:
            data = base64.b64encode(picture).decode()
            parts.append(f'\n<img class="output" alt="what the block drew" src="data:image/png;base64,{data}">\n\n')
    return "".join(parts)


def as_notebook(blocks: list[Block]) -> str:
    """Return a page as the JSON of a notebook, with its outputs."""
    cells = [cell for k, block in enumerate(blocks) if (cell := _cell(block, f"part-{k}"))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}, indent=1
    )


def _cell(block: Block, identity: str) -> Mapping[str, Any]:
    if not block.kind:
        text = block.text.replace(EXECUTED, "").strip()
        return {"id": identity, "cell_type": "markdown", "metadata": {}, "source": text} if text else {}
    source = {
        "file": f"%%writefile {block.name}\n{block.text}",
        "run": "\n".join(f"!{line}" for line in block.text.splitlines()),
        "python": block.text,
    }[block.kind]
    outputs: list[Mapping[str, Any]] = []
    if block.printed.strip():
        outputs.append({"output_type": "stream", "name": "stdout", "text": block.printed})
    shown = [{"text/html": block.html}] if block.html else []
    shown += [{"image/png": base64.b64encode(picture).decode()} for picture in block.pictures]
    outputs += [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
    return {
        "id": identity,
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "source": source.rstrip("\n"),
        "outputs": outputs,
    }
