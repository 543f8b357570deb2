"""Where bytes come from: one file a scheme, digests checked at every use, one cache."""

from harness.sources.base import (
    Context,
    Source,
    Unavailable,
    digests,
    fetch_data,
    fetch_file,
    fetch_folder,
    member,
    parse,
    resolve,
    schemes,
)
from harness.sources.cache import DigestMismatch, default_cache, sha256_of
from harness.sources.trust import code_files, remote_code, remote_code_allowed

__all__ = [
    "Context",
    "DigestMismatch",
    "Source",
    "Unavailable",
    "code_files",
    "default_cache",
    "digests",
    "fetch_data",
    "fetch_file",
    "fetch_folder",
    "member",
    "parse",
    "remote_code",
    "remote_code_allowed",
    "resolve",
    "schemes",
    "sha256_of",
]
