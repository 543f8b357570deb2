"""``hf:NAME@REVISION``: the Hugging Face hub, or whatever ``HF_ENDPOINT`` names in its place.

=====================================================  =========================================
``hf:NAME@REVISION``                                   a model's config, tokenizer, safetensors
``hf:NAME@REVISION!FILE``                              one file, whatever it is
``hf:datasets/NAME@REVISION!FILE``                     one file of a data set
``hf:datasets/NAME@REVISION![CONFIG/]SPLIT``           a split, read by `datasets`, as Parquet
=====================================================  =========================================

A revision is resolved to a commit first, and everything comes from that commit. A token
(``HF_TOKEN``) is used by `huggingface_hub` itself and is never seen here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from harness.errors import RequestError
from harness.sources.base import Context, Source, Unavailable, Unreachable
from harness.sources.cache import (
    adopt,
    disk_errors,
    recall,
    remember,
    scratch,
    sha256_of,
    stored,
)
from harness.sources.model_files import usable

_FORM = re.compile(
    r"(?P<data>datasets/)?(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^!@]+))?(!(?P<path>.+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubRef:
    """A parsed ``rest``. ``path`` is '' for the whole repository."""

    kind: Literal["model", "dataset"]
    name: str
    revision: str
    path: str

    @classmethod
    def parse(cls, rest: str) -> HubRef:
        found = _FORM.fullmatch(rest)
        if not found or ".." in PurePosixPath(found["path"] or "").parts:
            raise RequestError(
                f"hf:{rest}: not of the form hf:NAME@REVISION, hf:NAME@REVISION!FILE, "
                "hf:datasets/NAME@REVISION!FILE or hf:datasets/NAME@REVISION!CONFIG/SPLIT"
            )
        return cls(
            "dataset" if found["data"] else "model",
            found["name"],
            found["revision"] or "main",
            found["path"] or "",
        )

    def __str__(self) -> str:
        kind = "datasets/" if self.kind == "dataset" else ""
        path = f"!{self.path}" if self.path else ""
        return f"{kind}{self.name}@{self.revision}{path}"

    @property
    def is_split(self) -> bool:
        """Files have an extension; configurations and splits of data sets have none."""
        return self.kind == "dataset" and not PurePosixPath(self.path).suffix


class HubSource(Source):
    """Files come through a scratch folder into the one cache, not into the hub's own."""

    scheme = "hf"
    #: put before every name: for schemes that are one owner's part of the hub
    owner: ClassVar[str] = ""

    def resolve(self, rest: str, context: Context) -> str:
        ref = self._ref(rest)
        if _COMMIT.fullmatch(ref.revision):
            return str(ref).removeprefix(self.owner)
        key = f"hf:{replace(ref, path='')}"
        try:
            with hub_errors(ref):
                commit = repository(ref).sha
        except Unavailable:
            known = recall(context.cache, key)
            if known is None:
                raise
            commit = known["commit"]
        else:
            remember(context.cache, key, {"commit": commit})
        return str(replace(ref, revision=commit)).removeprefix(self.owner)

    def _ref(self, rest: str) -> HubRef:
        return HubRef.parse(self.owner + rest)

    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        ref = self._ref(self.resolve(rest, context))
        asked = f"{self.scheme}:{rest}"
        if not ref.path:
            raise RequestError(f"{asked}: names no file; write {asked}!FILE")
        if ref.is_split and sha256:
            raise RequestError(
                f"{asked}: a split is converted here, so its bytes have no lasting digest; "
                "leave `sha256` out and pin the revision to a commit, or name a file"
            )
        key = f"hf:{ref}"
        known = recall(context.cache, key)
        if known and sha256 in (None, known["sha256"]):
            path = stored(context.cache, known["sha256"])
            if path:
                return path
        with scratch(context.cache) as temporary, disk_errors(key, context.cache):
            if ref.is_split:
                from harness.sources.hf_splits import download_split  # it imports this module

                downloaded = download_split(ref, temporary, context)
            else:
                downloaded = download(ref, temporary, context)
            path = adopt(downloaded, context.cache, sha256, key)
        remember(context.cache, key, {"sha256": sha256_of(path)})
        return path

    def names(self, rest: str, context: Context) -> list[str]:
        ref = self._ref(self.resolve(rest, context))
        if ref.path:
            return []
        origin = f"hf:{ref}"
        key = f"{origin} with code" if context.code else origin
        known = recall(context.cache, key)
        if known and "names" in known:
            return list(known["names"])
        with hub_errors(ref):
            names = [sibling.rfilename for sibling in repository(ref).siblings or ()]
        if ref.kind == "model":
            names = usable((n for n in names if "/" not in n), origin, code=context.code)
        remember(context.cache, key, {"names": names})
        return names

    def member(self, rest: str, name: str) -> str:
        return str(replace(HubRef.parse(rest), path=name))


def repository(ref: HubRef) -> Any:
    """The hub's record of a repository at a revision: commit and file names."""
    from huggingface_hub import HfApi

    check_endpoint(ref)
    return HfApi().repo_info(ref.name, repo_type=ref.kind, revision=ref.revision)


def download(ref: HubRef, folder: Path, context: Context) -> Path:
    """One file of a repository, in ``folder``."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    check_endpoint(ref)
    try:
        with hub_errors(ref):
            found = hf_hub_download(
                ref.name,
                ref.path,
                repo_type=ref.kind,
                revision=ref.revision,
                local_dir=folder,
                tqdm_class=_reporting(context, f"hf:{ref}"),
            )
    except Unavailable as error:
        if isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise _missing(ref) from None
        raise
    return Path(found)


def check_endpoint(ref: HubRef) -> None:
    """`RequestError` for a hub over plain HTTP that is not on this machine: whoever sits on the way
    could change what comes, and would be told the token."""
    from huggingface_hub import constants

    endpoint = urlsplit(constants.ENDPOINT)
    if endpoint.scheme == "https" or endpoint.hostname in ("127.0.0.1", "localhost", "::1"):
        return
    raise RequestError(
        f"hf:{ref}: HF_ENDPOINT is {constants.ENDPOINT!r}; downloads come over HTTPS only, or from "
        "this machine itself"
    )


def _reporting(context: Context, origin: str) -> Any:
    """A progress bar class that draws nothing and tells ``context``."""
    from huggingface_hub.utils import tqdm

    class Reporting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})
            self.bytes = float(kwargs.get("initial") or 0)
            self.whole = float(kwargs.get("total") or 0)

        def update(self, n: float | None = 1) -> None:
            self.bytes += n or 0
            context.report(self.bytes, self.whole, origin)

    return Reporting


def _missing(ref: HubRef) -> Unavailable:
    listed = [sibling.rfilename for sibling in repository(ref).siblings or ()]
    close = difflib.get_close_matches(ref.path, listed, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it holds {', '.join(listed[:12])}"
    return Unavailable(f"hf:{ref}: no file {ref.path!r} there; {hint}")


@contextmanager
def hub_errors(ref: HubRef) -> Iterator[None]:
    """What `huggingface_hub` and its HTTP library raise, as one clear message each."""
    from huggingface_hub import errors

    origin = f"hf:{ref}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise Unavailable(
            f"{origin}: its owner asks for agreement first: accept the terms on its hub page, "
            "then set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise Unavailable(
            f"{origin}: the hub has no {ref.kind} {ref.name!r}, or it is private: check the name, "
            "or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise Unavailable(f"{origin}: no revision {ref.revision!r} there") from error
    except errors.RemoteEntryNotFoundError as error:
        raise Unavailable(f"{origin}: no file {ref.path!r} there") from error
    except errors.HFValidationError as error:
        raise RequestError(f"{origin}: {error}") from error
    except Exception as error:
        if not is_network(error):
            raise
        raise unreachable(ref) from error


def unreachable(ref: HubRef) -> Unavailable:
    return Unreachable(
        f"hf:{ref}: the hub could not be reached, so it is not here. Check the network and "
        "HF_ENDPOINT; `harness fetch SUITE` gets all files of a suite ahead, for machines "
        "without a network"
    )


def is_network(error: BaseException | None) -> bool:
    """Whether an exception, or what caused it, means that no answer came from the hub.

    The HTTP library under `huggingface_hub` has changed with its versions; its transport errors
    are known by their names. Errors of the disk are not of the network, though both are OSErrors.
    """
    while error is not None:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"TransportError", "HfHubHTTPError", "LocalEntryNotFoundError"}:
            return True
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        error = error.__cause__ or error.__context__
    return False
