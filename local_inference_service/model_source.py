"""What a model's name leads to: a directory, the embedded model, or a hub model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local_inference_service.embedded import EMBEDDED_MODEL, ensure_embedded_model
from local_inference_service.hub import fetch_model
from local_inference_service.progress import Progress
from marsys.v1 import ErrorReason
from serving.errors import invalid, service_error

_MOST_CHARACTERS = 1024
_HUB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_PATH_STARTS = ("/", ".", "~")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        name: a directory's resolved path, a hub name, or the embedded model's name.
        is_path: whether it is a directory.
        revision: branch, tag or commit of a hub model; None: its main branch.
    """

    name: str
    is_path: bool
    revision: str | None = None

    def fetch(self, progress: Progress) -> Path:
        """The directory of its files, fetched where they aren't on this machine.

        Raises:
            LoadError: they can't be fetched.
        """
        if self.is_path:
            return Path(self.name)
        if self.name == EMBEDDED_MODEL:
            return ensure_embedded_model(progress)
        return Path(fetch_model(self.name, self.revision, progress))


def find_source(model: str, revision: str) -> ModelSource:
    """The source that a name leads to: a directory if there is one, else a hub model.

    Args:
        model: name, or path.
        revision: LoadOptions.revision.

    Raises:
        ServiceError: the name or the revision can't be one, or there are no revisions.
    """
    if not model.strip():
        raise invalid("model", "must name a model")
    if len(model) > _MOST_CHARACTERS or not model.isprintable():
        raise invalid("model", f"must be at most {_MOST_CHARACTERS} printable characters")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise invalid("options.revision", "must be a branch, tag or commit")
    if is_path(model):
        if revision:
            raise invalid("options.revision", "is for hub models; a directory has no revisions")
        try:
            return ModelSource(str(Path(model).expanduser().resolve()), True)
        except (OSError, RuntimeError) as error:
            raise invalid("model", f"is no path: {error}") from None
    if model == EMBEDDED_MODEL:
        if revision:
            raise invalid("options.revision", "is for hub models; this one has no revisions")
        return ModelSource(model, False)
    if not _HUB_NAME.fullmatch(model) or ".." in model or "--" in model:
        raise invalid("model", "must be a hub name such as organisation/model, or a path")
    return ModelSource(model, False, revision or None)


def is_path(model: str) -> bool:
    """Whether a name leads to a directory, there or not."""
    return model.startswith(_PATH_STARTS) or Path(model).is_dir()


def check_allowed(source: ModelSource, allowed: Iterable[Path], model: str) -> None:
    """Hub models may always be loaded by callers, directories only below what the operator allows.

    Raises:
        ServiceError: the directory isn't below any.
    """
    if not source.is_path:
        return
    path = Path(source.name)
    if any(path.is_relative_to(each.expanduser().resolve()) for each in allowed):
        return
    raise service_error(
        ErrorReason.ERROR_REASON_NOT_ALLOWED,
        "model: the operator has not allowed models to be loaded from this path "
        "(allow_model_paths)",
        field="model",
        model=model,
    )


def served_name(source: str) -> str:
    """The name under which the operator's model is served: a directory's last part."""
    path = Path(source).expanduser()
    return path.resolve().name if path.is_dir() else source
