"""Whether attributions of a fitted text classifier are faithful: ``explain.json`` of its run.

Looks at the test inputs that scoring left beside the fit; no text is read, and none is written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from harness import registry
from harness.backends.base import Progress, predict_all
from harness.data.arrays import load_encoded
from harness.errors import RequestError
from harness.records.digests import sealed
from harness.records.files import write_json
from harness.records.store import EXPLAIN_FILE
from harness.stages.faithfulness import SHARES, faithfulness, summary
from harness.stages.fit import load_own
from harness.stages.job import Job
from harness.tasks.base import Encoded, Ragged, take_rows

#: random orders an example; their mean is the chance that the attribution is held against
RANDOM_ORDERS = 5
#: below it there is nothing to put in order
_FEWEST_TOKENS = 2
#: what stands for "no word here" where the integral begins, the first that the vocabulary has
_BLANKS = ("[PAD]", "<pad>", "<|pad|>", "[MASK]", "<mask>", "[UNK]", "<unk>", "<|endoftext|>")
#: kinds whose weights are themselves the explanation
_READABLE = ("tfidf-logreg",)


def check_explainable(fit_spec: dict[str, Any], run: dict[str, Any]) -> None:
    """`RequestError` where a fit's attributions are not measured, with the reason."""
    kind, task = fit_spec["model"]["kind"], fit_spec["task"]["type"]
    if task != "text-classification":
        raise RequestError(
            f"attributions are measured on text-classification only; this run's task is {task}"
        )
    if kind in _READABLE:
        raise RequestError(
            f"{kind} is readable by itself: its coefficients are the explanation (one a word and "
            "class, in its artifact)"
        )
    if fit_spec["framework"] != "torch":
        raise RequestError(
            f"attributions are computed in PyTorch only; this is a fit of {kind} in "
            f"{fit_spec['framework']}"
        )
    if run["runtime"] != "torch":
        raise RequestError(
            f"this run is in {run['runtime']}, which has no gradients; name the same fit's run in "
            "the runtime torch (`harness plan SUITE --json` lists ids)"
        )


def explain(job: Job, progress: Progress) -> dict[str, Any]:
    """Attribute, take tokens away, predict again; writes `EXPLAIN_FILE` and returns its content.

    ``job.run["explain"]``: ``{"examples": N}``. Examples and random orders are drawn by the run's
    seed.
    """
    start = time.perf_counter()
    encoded = load_encoded(job.timing_inputs)
    tokens = encoded.inputs["input_ids"]
    assert isinstance(tokens, Ragged)
    frame, blank = _special(job)
    rng = np.random.default_rng(job.run["seed"])
    order = rng.permutation(len(encoded))
    content = {int(i): ~np.isin(tokens[int(i)], frame) for i in order}
    long_enough = [i for i, words in content.items() if words.sum() >= _FEWEST_TOKENS]
    chosen = np.sort(np.array(long_enough[: job.run["explain"]["examples"]], np.int64))
    if not len(chosen):
        raise RequestError(f"no test input has {_FEWEST_TOKENS} tokens: nothing to attribute")
    part = _rows(encoded, chosen)
    words = [content[int(i)] for i in chosen]

    predictor = load_own(job)
    logits = np.stack(predict_all(predictor, part))
    classes = logits.argmax(axis=1)
    found = registry.backends.get(job.spec["framework"])().attributions(
        job.artifact, part, classes, words, blank,
        device=job.run["device"], threads=job.run["threads"], progress=progress,
    )  # fmt: skip
    orders = [_orders(s, w, rng) for s, w in zip(found.scores, words, strict=True)]

    def probabilities(texts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        rows = _shortened(part, texts)
        out = np.stack(
            predict_all(predictor, rows, progress=lambda n: progress("explain", n, len(texts), ""))
        )
        return softmax(out)[np.arange(len(texts)), classes[[i for i, _ in texts]]]

    measured = faithfulness(words, orders, probabilities)
    comprehensiveness = summary(measured.comprehensiveness, 1)
    facts = {
        "method": "integrated gradients on the token embeddings, logit of the predicted class",
        "blank_token_id": blank,
        **found.facts,
        "versions": {name: version(name) for name in ("captum", "torch", "transformers")},
        "examples": len(chosen),
        "examples_available": len(encoded),
        "too_short": len(encoded) - len(long_enough),
        "inputs": chosen,
        "seed": job.run["seed"],
        "random_orders": RANDOM_ORDERS,
        "shares": SHARES,
        "faithfulness_aopc": comprehensiveness["aopc"],
        "faithfulness_aopc_random": comprehensiveness["aopc_random"],
        "comprehensiveness": comprehensiveness,
        "sufficiency": summary(measured.sufficiency, -1),
        "completeness_gap_max": float(np.abs(found.gaps).max()),
        "seconds": time.perf_counter() - start,
    }
    content_of_file = sealed(job.record, facts, EXPLAIN_FILE)
    write_json(job.record / EXPLAIN_FILE, content_of_file)
    return content_of_file


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) to probabilities."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _orders(scores: np.ndarray, words: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions of the content by attribution, the highest first; then `RANDOM_ORDERS` others."""
    positions = np.flatnonzero(words)
    best = positions[np.argsort(-scores[positions], kind="stable")]
    return [best, *(rng.permutation(positions) for _ in range(RANDOM_ORDERS))]


def _special(job: Job) -> tuple[list[int], int]:
    """Ids that the tokenizer puts around any text, and the id of a blank."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(job.artifact / "tokenizer.json"))
    tokenizer.no_padding()
    frame = {*tokenizer.encode("").ids, *tokenizer.encode("", "").ids}
    blanks = [i for name in _BLANKS if (i := tokenizer.token_to_id(name)) is not None]
    return sorted(frame), blanks[0] if blanks else 0


def _rows(encoded: Encoded, chosen: np.ndarray) -> Encoded:
    count = len(chosen)
    return Encoded(take_rows(encoded.inputs, chosen), {}, np.arange(count), np.zeros(count, bool))


def _shortened(encoded: Encoded, texts: Sequence[tuple[int, np.ndarray]]) -> Encoded:
    """Every column of the inputs, with only the tokens that are kept."""
    inputs: dict[str, Any] = {}
    for name, column in encoded.inputs.items():
        assert isinstance(column, Ragged)
        # a text of which nothing is left is one id 0, as an empty text is
        rows = [column[i][kept] if kept.any() else np.zeros(1) for i, kept in texts]
        inputs[name] = Ragged.of(rows, column.values.dtype)
    count = len(texts)
    return Encoded(inputs, {}, np.arange(count), np.zeros(count, bool))
