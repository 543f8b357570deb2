"""What is known of how a recommended model's decisions can be explained.

Stands once more in ``choose.js``; change both together.
"""

from __future__ import annotations

from typing import Any

from harness.choose.evidence import Candidate, Evidence

#: kinds of models that are read by themselves: one weight a word or pixel and class
READABLE = ("tfidf-logreg", "pixels-logreg")


def readable(candidate: Candidate) -> bool:
    return candidate.rows[0].get("model_kind") in READABLE


def interpretability(best: Candidate, evidence: Evidence) -> dict[str, Any]:
    """Whether it is readable by itself; else the first faithfulness that the stage `explain`
    recorded, of this candidate or of its fit in another runtime (None: of neither)."""
    if readable(best):
        return {"readable": True, "faithfulness": None}
    same = [
        c for c in evidence.candidates
        if all(c[key] == best[key] for key in ("model", "recipe", "framework"))
    ]  # fmt: skip
    for row in [*best.rows, *(row for c in same for row in c.rows)]:
        if row.get("faithfulness_aopc") is not None:
            faithfulness = {
                "task": row["task"],
                "runtime": row["runtime"],
                "aopc": row["faithfulness_aopc"],
                "random": row.get("faithfulness_aopc_random"),
                "shown": bool(row.get("faithfulness_shown")),
            }
            return {"readable": False, "faithfulness": faithfulness}
    return {"readable": False, "faithfulness": None}
