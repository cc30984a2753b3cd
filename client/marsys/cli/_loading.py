"""A progress bar for a model that is being loaded."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from marsys.cli._terminal import to_stderr
from marsys.v1 import LoadModelResponse, LoadStage

_WORDS = {
    LoadStage.LOAD_STAGE_QUEUED: "waiting",
    LoadStage.LOAD_STAGE_DOWNLOADING: "downloading",
    LoadStage.LOAD_STAGE_LOADING: "loading",
    LoadStage.LOAD_STAGE_WARMING_UP: "warming up",
    LoadStage.LOAD_STAGE_READY: "ready",
}


class LoadingBar:
    """Shows LoadModel's progress on standard error: a bar on a terminal, else a line a stage.

    Give it as `on_load`. Nothing is shown where the model is ready at once.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._console = to_stderr()
        self._stage: LoadStage.ValueType = LoadStage.LOAD_STAGE_UNSPECIFIED
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __call__(self, response: LoadModelResponse) -> None:
        if response.stage == LoadStage.LOAD_STAGE_READY:
            self.close()
            return
        if not self._console.is_terminal:
            if response.stage != self._stage:
                self._console.print(f"{self._model}: {_WORDS.get(response.stage, 'loading')}")
            self._stage = response.stage
            return
        if self._progress is None:
            self._progress = self._open()
        self._progress.update(
            self._task,
            description=f"{self._model}: {_WORDS.get(response.stage, 'loading')}",
            completed=response.completed_bytes,
            total=response.total_bytes if response.HasField("total_bytes") else None,
        )

    def close(self) -> None:
        """Take the bar away."""
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
        self.close()

    def _open(self) -> Progress:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
        )
        progress = Progress(*columns, console=self._console, transient=True)
        self._task = progress.add_task(self._model, total=None)
        progress.start()
        return progress
