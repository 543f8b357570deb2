"""Operations per example and achieved shares of the machine's peak, from records."""

from __future__ import annotations

from typing import Any

import pytest

from harness.boards.model_facts import KEYS, model_facts

ROW = {"recipe": "fine-tune", "fit_dtype": "bfloat16", "dtype": "float32"}
FIT = {
    "examples_per_second": 50.0,
    "trained_params": 22,
    "matmul_flops_per_s": {"float32": 100e9, "bfloat16": 300e9},
}
FACTS = {"flops_per_example": 1e9}


def timing(**changes: Any) -> dict[str, Any]:
    return {"throughput_per_s": 40.0, "matmul_flops_per_s": {"float32": 100e9}} | changes


def test_a_training_step_counts_as_three_predictions() -> None:
    found = model_facts(ROW, [(FIT, FACTS)], [timing()])
    assert found["fit_peak_share"] == pytest.approx(3 * 1e9 * 50 / 300e9)
    assert found["peak_share"] == pytest.approx(1e9 * 40 / 100e9)
    assert found["flops_per_example"] == 1e9 and found["trained_params"] == 22


def test_a_probe_has_no_share_since_it_trains_its_head_alone() -> None:
    found = model_facts(ROW | {"recipe": "linear-probe"}, [(FIT, FACTS)], [])
    assert found["fit_peak_share"] is None


def test_another_precision_is_not_judged_by_float32s_peak() -> None:
    assert model_facts(ROW | {"dtype": "int8"}, [(FIT, FACTS)], [timing()])["peak_share"] is None


def test_shares_are_medians_over_launches() -> None:
    launches = [
        timing(throughput_per_s=rate, host_watch={"disturbed_share": share})
        for rate, share in ((10.0, 1.0), (40.0, 0.0), (45.0, 0.2))
    ]
    found = model_facts(ROW, [(FIT, FACTS)], launches)
    assert found["peak_share"] == pytest.approx(0.4)
    assert found["disturbed_share"] == 0.2


def test_records_that_are_older_give_nothing_and_no_error() -> None:
    assert model_facts(ROW, [({}, {})], [{"throughput_per_s": 3.0}]) == dict.fromkeys(KEYS)
