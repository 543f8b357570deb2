"""The keys of a board's row: their order in its files, and what each holds."""

from harness.boards import model_facts
from harness.boards.shapes import METRICS

#: The keys of a row, in the order of ``leaderboard.json`` and ``leaderboard.csv``
KEYS = (
    "row_id", "suite", "model", "task", "recipe", "framework", "runtime", "device", "dtype",
    "fit_dtype", "seeds", "seeds_ok", "status", "host_id",
    "rank", "tied_with_best", "score_name", "score", "score_low", "score_high", "score_basis",
    *METRICS,
    "train_score", "params", "size_mb", "fit_seconds", "fit_examples_per_second",
    "latency_p50_ms", "latency_p90_ms", "latency_p99_ms",
    "throughput_per_s", "peak_memory_mb", "energy_j_per_1000", "energy_basis",
    "parity_rel_diff", "prediction_agreement", "score_delta",
    "weights_licence", "data_licence", "runs",
    # beyond the contract's list
    "score_delta_low", "score_delta_high", "gap_to_best", "p_vs_best", "reason", "examples",
    "validation_score", "train_examples", "train_available", "examples_available",
    "truncated_share", "max_length", "overlap_share", "fit_seconds_reason", 
    "launches", *model_facts.KEYS,
    "latency_p50_low_ms", "latency_p50_high_ms", "throughput_low_per_s", "throughput_high_per_s",
    "first_answer_seconds", "steady", "timing_verdict", "throughput_verdict",
    "server_rate_per_s", "server_percentile", "server_latency_bound_ms",
    # what `choose` asks of a row, on a page too, where there is no plan
    "task_type", "model_kind", "model_name", "model_family",
    "train_budget", "resolution", "pareto",
    # of the stage `explain`, where it ran
    "faithfulness_aopc", "faithfulness_aopc_random", "faithfulness_shown",
    "schema_version",
)  # fmt: skip

#: What the keys of a row hold: lists, yes or no, texts; all others hold numbers
LISTS = frozenset({"runs", "pareto"})
FLAGS = frozenset({"tied_with_best", "steady", "faithfulness_shown"})
TEXTS = frozenset(
    {
        "row_id", "suite", "model", "task", "recipe", "framework", "runtime", "device", "dtype",
        "fit_dtype", "status", "host_id", "score_name", "score_basis", "energy_basis",
        "weights_licence", "data_licence", "reason", "fit_seconds_reason", "timing_verdict",
        "throughput_verdict", "task_type", "model_kind", "model_name", "model_family",
    }
)  # fmt: skip
NUMBERS = frozenset(KEYS) - LISTS - FLAGS - TEXTS
