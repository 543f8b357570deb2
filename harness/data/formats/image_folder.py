"""A folder of images per class: ``FOLDER/<class>/<image>``, as torchvision and Keras read it."""

from __future__ import annotations

from pathlib import Path

from harness.data.table import Table
from harness.errors import RequestError

#: what is taken for an image; other files are an error, so that none is lost in silence
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image_folder(path: Path, origin: str, *, other_files: str = "refuse") -> Table:
    """Columns ``image`` (a path), ``label`` (the folder's name) and ``file`` (relative path).

    Hidden files and folders are passed over, with ``other_files: ignore`` all that is no image.
    Raises `RequestError` for an empty class folder.
    """
    if other_files not in ("refuse", "ignore"):
        raise RequestError(f"{origin}: `other_files` is `refuse` or `ignore`, not {other_files!r}")
    if not path.is_dir():
        raise RequestError(f"{origin}: is a file; an image folder holds one folder per class")
    classes = [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    if not classes:
        raise RequestError(f"{origin}: holds no class folders (wanted {path.name}/<class>/<image>)")
    rows: list[tuple[Path, str]] = []
    loose = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    if loose and other_files == "refuse":
        raise RequestError(
            f"{min(loose)}: lies beside the class folders, so it has no class; move or remove it, "
            "or say `other_files: ignore` under the data's `options:`"
        )
    for folder in classes:
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not hidden(p, path)]
        images = [p for p in files if p.suffix.lower() in EXTENSIONS]
        if len(images) < len(files) and other_files == "refuse":
            odd = next(p for p in files if p.suffix.lower() not in EXTENSIONS)
            raise RequestError(
                f"{odd}: is not an image by its extension ({', '.join(EXTENSIONS)}); remove it, "
                "or say `other_files: ignore` under the data's `options:`"
            )
        if not images:
            raise RequestError(f"{folder}: an empty class folder; remove it or fill it")
        rows += [(image, folder.name) for image in images]
    return Table(
        {
            "image": [image for image, _ in rows],
            "label": [label for _, label in rows],
            "file": [image.relative_to(path).as_posix() for image, _ in rows],
        },
        origin,
    )


def hidden(path: Path, root: Path) -> bool:
    """Whether a file, or a folder between it and ``root``, begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)
