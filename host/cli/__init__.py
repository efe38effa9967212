"""The command line."""

from __future__ import annotations

import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn, TextIO

import typer
from rich.markup import escape

from ...models.errors import AerloomError, AerloomWarning
from . import boards, explore, fit, networks, run, verify
from .common import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Trained spiking neural networks as FPGA hardware: the golden model, the cycle-accurate simulator and the board "
    "give the same answers, bit for bit.\n\nStart with `aerloom demo`.",
)
INTERRUPTED = 130  #: what Typer exits with after Ctrl-C

app.command()(verify.demo)
app.command(name="import")(networks.import_)
app.command()(networks.check)
app.command(name="convert")(networks.convert_)
app.command(name="zoo")(networks.list_zoo)
app.command(name="quantize")(networks.quantize_)
app.command()(networks.sweep)
app.command()(networks.report)
app.command()(fit.fit)
app.command()(explore.explore)
app.command()(verify.sim)
app.command()(run.run)
app.command()(run.infer)
app.command()(boards.boards)
app.command()(boards.build)
app.command()(boards.flash)
app.command()(boards.virtual)


def main() -> None:
    """Run the command line: errors that a user can mend are one sentence and exit code 2; so is Ctrl-C."""
    warnings.showwarning = _note
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background of a shell it is ignored
        signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except AerloomError as e:
        console.print(f"[bold red]error:[/] {escape(str(e))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except MemoryError as e:
        console.print(f"[bold red]error:[/] not enough memory: {escape(str(e) or 'take less at once')}", highlight=False,
                      soft_wrap=True)
        sys.exit(2)
    except SystemExit as e:
        sys.exit(2 if e.code == INTERRUPTED else e.code)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C ends a command in order: workers too; another one does not disturb that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _note(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
          line: str | None = None) -> None:
    if issubclass(category, AerloomWarning):
        console.print(f"[bold yellow]note:[/] {escape(str(message))}", highlight=False, soft_wrap=True)
