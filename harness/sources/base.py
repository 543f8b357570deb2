"""What a source scheme must provide, and fetching by source string.

A source string is ``SCHEME:REST``; the scheme's class gives REST its meaning. Schemes register
in the entry-point group ``harness.sources``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from harness.errors import RequestError
from harness.registry import Registry
from harness.sources.cache import sha256_of, stored

T = TypeVar("T")

#: Called with (stage, done, total, note); done and total in bytes, total 0 where unknown.
Progress = Callable[[str, float, float, str], None]

schemes = Registry(
    "harness.sources",
    "source scheme",
    built_in={
        "hf": "harness.sources.hf:HubSource",
        "keras": "harness.sources.keras_zoo:KerasSource",
        "path": "harness.sources.path:PathSource",
        "pypi": "harness.sources.pypi:WheelSource",
        "timm": "harness.sources.timm_zoo:TimmSource",
    },
)


class Unavailable(RequestError):
    """The source cannot be had (no network, no such file): a mirror may be tried."""


class Unreachable(Unavailable):
    """No answer came over the network, which may be otherwise in a moment."""


class FileRef(Protocol):
    """What `fetch_file` needs to know (`harness.suite.FileRef` has it)."""

    @property
    def source(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def mirrors(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Context:
    """Where a fetch happens: the cache, the folder of the suite file, whom to tell; and whether
    Python files of a model folder are wanted, too (``code``)."""

    cache: Path
    base: Path
    progress: Progress | None = None
    code: bool = False

    def report(self, done: float, total: float, note: str) -> None:
        """Tell how many bytes of how many have come."""
        if self.progress:
            self.progress("fetch", done, total, note)


class Source(ABC):
    """One scheme. ``rest`` is always the source string without ``SCHEME:``."""

    scheme: ClassVar[str]
    #: a folder may only be used file by file, each with its digest
    needs_digests: ClassVar[bool] = False
    #: bytes with a pinned digest may come from the cache instead
    cached: ClassVar[bool] = True

    @abstractmethod
    def file(self, rest: str, sha256: str | None, context: Context) -> Path:
        """The one local file, verified; `Unavailable` if it cannot be had."""

    @abstractmethod
    def names(self, rest: str, context: Context) -> list[str]:
        """Files of a folder that may be used, relative to it; [] when ``rest`` is one file."""

    def data(self, rest: str, sha256: str | None, context: Context) -> Path:
        """What a data reader opens: a file, or where the scheme has them a folder."""
        return self.file(rest, sha256, context)

    def member(self, rest: str, name: str) -> str:
        """The ``rest`` of one file of a folder."""
        return f"{rest.rstrip('/')}/{name}"

    def resolve(self, rest: str, context: Context) -> str:
        """``rest`` with whatever moves (a branch) replaced by what it means now (a commit)."""
        return rest


def parse(source: str) -> tuple[Source, str]:
    """The scheme and the rest of a source string; `RequestError` that lists known schemes."""
    scheme, colon, rest = source.partition(":")
    if not colon or not rest:
        raise RequestError(
            f"source {source!r} is not of the form SCHEME:...; known schemes: "
            + ", ".join(f"{name}:" for name in schemes.names())
        )
    return schemes.get(scheme, where=f"source {source!r}")(), rest


def fetch_file(
    ref: FileRef,
    cache: Path,
    progress: Progress | None = None,
    base: Path | None = None,
) -> Path:
    """A verified local file, from its source or the first mirror that can be had.

    ``base`` is the folder that relative ``path:`` sources start from (default: the current one).
    Raises `RequestError`: `DigestMismatch` for other bytes than pinned, `Unavailable` where
    neither the source nor a mirror can be had.
    """
    context = Context(cache, base or Path(), progress)
    return _first((ref.source, *ref.mirrors), lambda source: _file(source, ref.sha256, context))


def fetch_data(
    ref: FileRef,
    cache: Path,
    progress: Progress | None = None,
    base: Path | None = None,
) -> Path:
    """As `fetch_file`, but a folder where the source is one (images by class)."""
    context = Context(cache, base or Path(), progress)

    def get(source: str) -> Path:
        scheme, rest = parse(source)
        return _cached(scheme, ref.sha256, context) or scheme.data(rest, ref.sha256, context)

    return _first((ref.source, *ref.mirrors), get)


def fetch_folder(
    source: str,
    sha256: Mapping[str, str] | None,
    cache: Path,
    progress: Progress | None = None,
    base: Path | None = None,
    *,
    code: bool = False,
) -> dict[str, Path]:
    """The files of a folder by name, each verified: exactly those pinned, where digests are given.

    Without digests a model folder yields its config, tokenizer and safetensors files, and with
    ``code`` its Python files. Files of a `hf:` folder all come from one commit (`resolve` tells
    which).
    """
    context = Context(cache, base or Path(), progress, code)
    scheme, rest = parse(source)
    if scheme.needs_digests and not sha256:
        raise RequestError(
            f"{source}: needs `sha256`: the digest of each file that is used "
            f"(print them with `harness digest {source}`)"
        )
    pinned = scheme.resolve(rest, context)
    names = list(sha256 or scheme.names(pinned, context))
    if not names:
        raise RequestError(f"{source}: is a file, where a folder was wanted")
    return {
        name: _file(
            f"{scheme.scheme}:{scheme.member(pinned, name)}", (sha256 or {}).get(name), context
        )
        for name in names
    }


def resolve(
    source: str, cache: Path, progress: Progress | None = None, base: Path | None = None
) -> str:
    """The source with its revision as a commit; without a network, what it last meant here."""
    scheme, rest = parse(source)
    return f"{scheme.scheme}:{scheme.resolve(rest, Context(cache, base or Path(), progress))}"


def member(source: str, name: str) -> str:
    """The source string of one file of a folder source."""
    scheme, rest = parse(source)
    return f"{scheme.scheme}:{scheme.member(rest, name)}"


def digests(
    source: str, cache: Path, progress: Progress | None = None, base: Path | None = None
) -> dict[str, str]:
    """File name to SHA-256, of one file or of each file of a folder, to paste into a suite."""
    context = Context(cache, base or Path(), progress)
    scheme, rest = parse(source)
    pinned = scheme.resolve(rest, context)
    names = scheme.names(pinned, context)
    if not names:
        name = rest.rpartition("!")[2].rpartition("/")[2]
        return {name: sha256_of(scheme.file(pinned, None, context))}
    return {
        name: sha256_of(scheme.file(scheme.member(pinned, name), None, context)) for name in names
    }


def _file(source: str, sha256: str | None, context: Context) -> Path:
    scheme, rest = parse(source)
    return _cached(scheme, sha256, context) or scheme.file(rest, sha256, context)


def _cached(scheme: Source, sha256: str | None, context: Context) -> Path | None:
    """Bytes with a pinned digest, where the scheme lets the cache answer for it."""
    return stored(context.cache, sha256) if sha256 and scheme.cached else None


def _first(sources: Sequence[str], get: Callable[[str], T]) -> T:
    """The first source that can be had; only `Unavailable` passes on to the next."""
    failures: list[str] = []
    kind = Unavailable
    for source in sources:
        try:
            return get(source)
        except Unavailable as error:
            failures.append(str(error))
            kind = Unreachable if isinstance(error, Unreachable) else kind
    if len(failures) == 1:
        raise kind(failures[0])
    raise kind("no source could be had:\n" + "\n".join(f"  {text}" for text in failures))
