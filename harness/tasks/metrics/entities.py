"""Entity-level scores of tagged sentences: seqeval's strict mode over IOB2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def entity_metrics(
    target: Sequence[Sequence[str]], prediction: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Micro-averaged precision, recall and F1 of entities, and the same per type.

    Sentences of IOB2 tags, equally long in both. An entity counts if its first word, last word
    and type are right (seqeval, ``mode="strict"``, ``scheme=IOB2``); an I- that continues nothing
    is no entity. 0/0 counts as 0. ``token_accuracy`` is the share of words with the right tag:
    shown for comparison with other reports, flattered by O.
    """
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    gold, found = [list(tags) for tags in target], [list(tags) for tags in prediction]
    words = sum(map(len, gold))
    right = sum(a == b for x, y in zip(gold, found, strict=True) for a, b in zip(x, y, strict=True))
    result: dict[str, Any] = {
        "precision_entity": 0.0,
        "recall_entity": 0.0,
        "f1_entity": 0.0,
        "per_type": {},
        "token_accuracy": right / words if words else 0.0,
    }
    if not any(tag.startswith("B-") for tags in (*gold, *found) for tag in tags):
        return result  # seqeval cannot average over no type at all
    report = classification_report(
        gold, found, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    for name, scores in report.items():
        plain = {
            "precision": float(scores["precision"]),
            "recall": float(scores["recall"]),
            "f1": float(scores["f1-score"]),
            "support": int(scores["support"]),
        }
        if name == "micro avg":
            result |= {f"{key}_entity": plain[key] for key in ("precision", "recall", "f1")}
        elif name not in ("macro avg", "weighted avg"):
            result["per_type"][name] = plain
    return result
