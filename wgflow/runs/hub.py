"""Pretrained energies by name, from a folder, or from a repository of the Hugging Face Hub.

Nothing that is fetched can run: of a repository only the files of `FILES` are read, which are
TOML, JSON and safetensors, and what they hold is checked as that of any run.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from wgflow.errors import WGFlowError
from wgflow.runs import zoo
from wgflow.runs.load import load
from wgflow.runs.run import Run
from wgflow.storage import folder

FILES = (
    folder.CONFIG,
    folder.ENVIRONMENT,
    folder.ENERGY,
    folder.COLUMNS,
    folder.SCORES,
    folder.LABELLER,
)
"""The files of a published run: the only ones that are fetched."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class HubError(WGFlowError):
    """The Hub could not be reached, or refused."""


@runtime_checkable
class Hub(Protocol):
    """Where published runs are kept: that of Hugging Face, or another."""

    def download(self, repository: str, names: Sequence[str], revision: str | None) -> Path:
        """A folder with those of the named files that the repository has."""
        ...

    def upload(self, path: Path, repository: str, *, private: bool) -> str:
        """Put the files of a folder into a repository, made if need be; its address."""
        ...


class HuggingFace:
    """The Hub of Hugging Face, through its own library, which keeps the files in its cache."""

    def download(self, repository: str, names: Sequence[str], revision: str | None) -> Path:
        """A folder with those of the named files that the repository has.

        Raises:
            HubError: the library is absent, or the Hub does not answer or has no such repository.
        """
        library = _library()
        try:
            path = library.snapshot_download(
                repository, revision=revision, allow_patterns=list(names)
            )
        except Exception as error:  # of the network, of the service, of its cache
            raise _failure("fetched", repository, error) from error
        return Path(path)

    def upload(self, path: Path, repository: str, *, private: bool) -> str:
        """Put the files of a folder into a repository, made if need be; its address.

        Raises:
            HubError: the library is absent, or the Hub does not answer or does not let us.
        """
        library = _library()
        try:
            api = library.HfApi()
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=path, commit_message="WGFlow run")
        except Exception as error:
            raise _failure("written", repository, error) from error
        return str(address)


def from_pretrained(
    name: Path | str,
    *,
    revision: str | None = None,
    energy: nn.Module | None = None,
    hub: Hub | None = None,
) -> Run:
    """A run that somebody learned: in that folder, of that name, or in that repository.

    Args:
        name: the folder of a run, or else ``mnist`` or ``fashion-mnist``, or else
            ``user/repository`` of the Hub.
        revision: branch, tag or commit of the repository; only a commit stays what it is.
        energy: the caller's module, of a run that learned one; see `wgflow.load`.
        hub: another one than that of Hugging Face.

    Raises:
        ValueError: there is no such folder or name, and it cannot be a repository; or what is
            there is no run.
        HubError: the repository could not be fetched.
    """
    path = Path(name)
    if not folder.is_run(path) and (str(name) in zoo.names() or not path.is_dir()):
        path = find_pretrained(str(name), revision=revision, hub=hub)
    return load(path, energy=energy)


def find_pretrained(name: str, *, revision: str | None = None, hub: Hub | None = None) -> Path:
    """The folder of a pretrained energy, which is fetched if its name is a repository.

    Raises:
        ValueError: it is neither the name of one that comes with the package nor a repository.
        HubError: the repository could not be fetched.
    """
    if name in zoo.names():
        return zoo.pretrained(name)
    check_repository("pretrained", name, f"one of {', '.join(zoo.names())} or ")
    return (hub or HuggingFace()).download(name, FILES, revision)


def check_repository(name: str, value: str, otherwise: str = "") -> None:
    """Raise ValueError unless the value of an argument may be a repository."""
    if not REPOSITORY.fullmatch(value):
        raise ValueError(f"`{name}` must be {otherwise}user/repository: got {value!r}.")


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise HubError("The Hub needs huggingface-hub: pip install 'wgflow[hub]'.") from error


def _failure(what: str, repository: str, error: Exception) -> HubError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return HubError(f"{repository} could not be {what}: {said}")
