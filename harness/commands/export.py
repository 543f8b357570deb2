"""``harness export``: give a fitted model away, with a usage snippet that runs as it stands."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from harness import registry
from harness.commands.arguments import add_results
from harness.commands.fitted import fitted, lost
from harness.commands.show import find_run
from harness.commands.snippets import snippet
from harness.errors import RequestError
from harness.records.files import read_json, whole_folder, write_bytes, write_json
from harness.sources import code_files
from harness.stages.export import is_exported
from harness.tasks.tokenization import word_separator

EXAMPLE = "harness export 3f2a --to my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser)
    parser.add_argument("row", metavar="ROW", help="a row_id or run_id, or its beginning")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new folder")


def run(args: argparse.Namespace) -> int:
    record, spec = find_run(args.results, args.row)
    if args.to.exists() and any(args.to.iterdir()):
        raise RequestError(f"{args.to} exists and is not empty; name a new folder")
    source = fitted(record, spec)  # read whole, so that what fails after it is the writing
    if not is_exported(source, spec["row"]["runtime"]):
        raise lost(record, f"the weights that {spec['row']['runtime']} loads of run {record.name}")
    try:
        _write(args.to, source, spec, record)
    except OSError as error:
        raise RequestError(f"{args.to} cannot be written: {error.strerror or error}") from None
    files = sorted(p.name for p in args.to.iterdir())
    code = [name for name in code_files(args.to) if name != "usage.py"]
    if args.json:
        print(json.dumps({"folder": str(args.to), "files": files}, indent=2))
    else:
        print(f"{args.to}: {', '.join(files)}")
        if code:
            print(f"usage.py runs Python code that came with the checkpoint: {', '.join(code)}")
        print(f"try it:  python {args.to / 'usage.py'}")
    return 0


def _write(target: Path, source: Path, spec: dict[str, Any], record: Path) -> None:
    """The folder of one runtime: what it loads, and nothing else."""
    row, info = spec["row"], read_json(source / "artifact" / "harness.json") or {}
    with whole_folder(target) as scratch:
        artifact, exports = source / "artifact", source / "onnx"
        runtime = registry.runtimes.get(row["runtime"])()
        if runtime.needs == "onnx":
            shutil.copyfile(runtime.weights(exports), scratch / "model.onnx")
            for name in ("harness.json", "tokenizer.json"):
                if (artifact / name).is_file():  # image models have no tokenizer
                    shutil.copyfile(artifact / name, scratch / name)
        else:
            shutil.copytree(artifact, scratch, dirs_exist_ok=True)
        write_json(scratch / "labels.json", {"labels": info["labels"]})
        metrics = read_json(record / "metrics.json") or {}
        script = snippet(
            info,
            row["runtime"],
            own_code=bool(code_files(scratch)),
            word_gap=_word_gap(scratch / "tokenizer.json"),
            unanswerable=metrics.get("metrics", {}).get("no_answer_examples", 0) > 0,
        )
        write_bytes(scratch / "usage.py", script.encode())
        write_bytes(scratch / "LICENCES.md", _licences(row, info).encode())
        write_json(
            scratch / "evidence.json",
            {"row": row, "run_id": record.name, "metrics": metrics},
        )


def _word_gap(tokenizer_file: Path) -> str:
    if not tokenizer_file.is_file():
        return ""
    from tokenizers import Tokenizer

    return word_separator(Tokenizer.from_file(str(tokenizer_file)))


def _licences(row: dict[str, Any], info: dict[str, Any]) -> str:
    return (
        f"# Licences\n\n{row['model']}, {row['recipe']} on {row['task']}.\n\n"
        f"- pretrained weights: {info['weights_licence']}\n"
        f"- training data: {info['data_licence']}\n\n"
        "Whether a model trained on data under a research licence may be used commercially is a "
        "question for your lawyers; this file only states what the suite declared.\n"
    )
