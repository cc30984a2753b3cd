"""What is shown while nothing has come yet: a spinner, or the progress of a load."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from marsys.cli._terminal import to_stderr
from marsys.v1 import LoadModelResponse, LoadStage

_WORDS = {
    LoadStage.LOAD_STAGE_QUEUED: "waiting for another load",
    LoadStage.LOAD_STAGE_DOWNLOADING: "downloading",
    LoadStage.LOAD_STAGE_LOADING: "loading",
    LoadStage.LOAD_STAGE_WARMING_UP: "warming up",
}


class Waiting:
    """A spinner or a bar on standard error. At most one is shown; `stop` takes it away.

    On a terminal that can't draw, and in a pipe, a load is a line a stage and all else is silence.
    """

    def __init__(self) -> None:
        self._console = to_stderr()
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._progress: Progress | None = None
        self._bar = False
        self._stage: LoadStage.ValueType | None = None

    def spin(self, words: str) -> None:
        """Show that something is waited for."""
        if self._draws:
            self._open(words, bar=False)

    def loading(self, model: str, response: LoadModelResponse) -> None:
        """Show how far a load has come; nothing where the model is ready at once."""
        if response.stage == LoadStage.LOAD_STAGE_READY:
            self.stop()
            return
        words = f"{model}: {_WORDS.get(response.stage, 'loading')}"
        changed, self._stage = response.stage != self._stage, response.stage
        if not self._draws:
            if changed:
                self._console.print(words, markup=False)
            return
        known = response.HasField("total_bytes") and response.total_bytes > 0
        if self._progress is None or self._bar != known:
            self._open(words, bar=known)
        if self._progress is not None:
            task = self._progress.task_ids[0]
            if changed and known:
                self._progress.reset(task)
            self._progress.update(
                task,
                description=words,
                completed=response.completed_bytes,
                total=response.total_bytes if known else None,
            )

    def stop(self) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _open(self, words: str, *, bar: bool) -> None:
        self.stop()
        self._bar = bar
        # A spinner of ASCII where the terminal has no more.
        spinner = "dots" if self._console.encoding.startswith("utf") else "line"
        description = TextColumn("{task.description}", markup=False, style="dim")
        columns = (
            (description, BarColumn(), DownloadColumn(), TimeElapsedColumn())
            if bar
            else (SpinnerColumn(spinner), description, TimeElapsedColumn())
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._progress.add_task(words, total=None)
        self._progress.start()
