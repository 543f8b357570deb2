"""One file a format. A reader is a plain function::

    def read(path: Path, origin: str, *, option: type = default, ...) -> Table

Its keyword-only parameters are the options that a suite may give; `origin` names the file in
messages. Readers register in the entry-point group ``harness.formats``.
"""
