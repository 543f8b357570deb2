"""What a search fits in its time: simulated learning curves, costs and a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.choose.halving import (
    Fitted,
    better_half,
    expected_seconds,
    predicted,
    ranked,
    rungs,
    useful_size,
)
from harness.choose.own_data import Arm
from harness.choose.search import Search, board_in_time
from harness.suite import Entry

Curve = Callable[[int], float]


def arm(model: str, recipe: str) -> Arm:
    return Arm(model, recipe, Entry(models=(model,), tasks=("own",), recipe=recipe))


#: starts late and ends highest: it loses below 400 examples
TUNED = arm("bert", "fine-tune"), lambda n: 1 - 1.6 * (n / 50) ** -0.9, 0.05
PROBE = arm("bert", "linear-probe"), lambda n: 0.82 - 1.2 * n**-0.5, 0.01
STATIC = arm("words", "linear-probe"), lambda n: 0.75 - 1.2 * n**-0.5, 0.001
LARGE = arm("llama", "linear-probe"), lambda n: 0.6 - 1.2 * n**-0.5, 0.1
TFIDF = arm("tfidf", "baseline"), lambda n: 0.8 - 2 * n**-0.5, 0.0005


class World:
    """Candidates with a curve and seconds an example; a clock that fits alone move."""

    def __init__(self, *candidates: tuple[Arm, Curve, float], fails: tuple[Arm, ...] = ()) -> None:
        self.curves = {arm.name: curve for arm, curve, _ in candidates}
        self.costs = {arm.name: seconds for arm, _, seconds in candidates}
        self.arms = [arm for arm, _, _ in candidates]
        self.fails = fails
        self.now = 0.0
        self.log: list[tuple[str, int]] = []

    def fit(self, arm: Arm, train: int) -> Fitted | None:
        seconds = self.costs[arm.name] * train
        self.now += seconds
        self.log.append((arm.name, train))
        if arm in self.fails:
            return None
        return Fitted(train, self.curves[arm.name](train), seconds, 0.0)

    def search(self, seconds: float, examples: int = 1000, grace: float = 0.0) -> Search:
        return Search(
            shortlist=[arm for arm in self.arms if not arm.baseline],
            baselines=[arm for arm in self.arms if arm.baseline],
            examples=examples, smallest=useful_size(examples, 3), validation=500,
            guessed=lambda arm, train: self.costs[arm.name] * train, fit=self.fit,
            deadline=seconds, grace=grace, clock=lambda: self.now,
        )  # fmt: skip


def test_rungs_are_two_or_three_small_sizes_from_a_useful_one_on_and_the_last() -> None:
    assert rungs(3200) == [200, 400, 800, 3200]
    assert rungs(1000) == [100, 200, 1000]
    assert rungs(1000, 300) == [1000] and rungs(60, 60) == [60], "too few to halve"
    assert useful_size(1000, 3) == 100
    assert useful_size(1000, 77) == 616
    assert useful_size(60, 3) == 60


def test_two_sizes_predict_by_the_power_law_that_ends_at_one() -> None:
    """Errors 0.4 and 0.2 at 100 and 200: halved by each doubling, so 0.05 at 800."""
    fits = [Fitted(100, 0.6, 1, 0), Fitted(200, 0.8, 1, 0)]
    assert predicted(fits, 800, 500) == pytest.approx(0.95)
    assert predicted(fits[:1], 800, 500) == 0.6
    assert predicted(fits, 200, 500) == 0.8, "what was measured is not predicted"
    assert predicted([Fitted(100, 0.8, 1, 0), Fitted(200, 0.7, 1, 0)], 800, 500) == 0.7


def test_three_sizes_predict_with_a_limit_of_their_own() -> None:
    fits = [Fitted(n, 0.9 - 2 * n**-0.5, 1, 0) for n in (125, 250, 500)]
    assert predicted(fits, 2000, 500) == pytest.approx(0.9 - 2 * 2000**-0.5, abs=0.005)


def test_what_noise_may_swap_is_ordered_by_the_shortlist() -> None:
    """At 0.8 of 400 examples one standard error is 2 points."""
    shortlist = ["a", "b", "c"]
    assert ranked({"a": 0.79, "b": 0.8, "c": 0.7}, shortlist, 400) == ["a", "b", "c"]
    assert ranked({"a": 0.77, "b": 0.8, "c": 0.7}, shortlist, 400) == ["b", "a", "c"]
    assert better_half(["b", "a", "c"]) == ["b", "a"]


def test_cost_grows_with_the_examples_but_for_what_is_fixed() -> None:
    assert expected_seconds(Fitted(100, 0.5, 10, 3), 200) == pytest.approx(3 + 26)


def test_with_time_for_all_everything_is_fitted_on_all_examples_once() -> None:
    world = World(PROBE, TUNED, STATIC, LARGE, TFIDF)
    search = world.search(300)
    finalists = search.run()
    assert {size for _, size in world.log} == {1000} and len(world.log) == 5
    assert [arm.name for arm in finalists] == [
        "bert fine-tune", "bert linear-probe", "tfidf baseline"
    ]  # fmt: skip
    assert not search.left_out


def test_a_late_starter_is_not_dropped_for_its_score_on_few_examples() -> None:
    """On 125 and 250 examples it is last; on all 2,000 it wins. Five fits would take 500 s."""
    others = [
        (arm(f"model{i}", "fine-tune"), lambda n, i=i: 0.7 + i / 100 - n**-0.5, 0.05)
        for i in range(4)
    ]
    late = arm("late", "fine-tune"), lambda n: 1 - 0.56 * (n / 250) ** -0.8, 0.05
    world = World(*others, late)
    search = world.search(320, examples=2000)
    assert late[1](250) < min(curve(250) for _, curve, _ in others)
    assert search.run()[0].name == "late fine-tune"
    assert len(search.left_out) == 3 and world.now <= 320


def test_the_favourite_reaches_the_final_size_however_short_the_time() -> None:
    """Its two fits on 1,000 examples are expected to take 78 s: next to nothing else is tried."""
    world = World(PROBE, TUNED, LARGE, TFIDF)
    search = world.search(80)
    finalists = search.run()
    assert ("bert fine-tune", 1000) in world.log
    assert finalists[0].name == "bert fine-tune"
    assert "llama linear-probe" in search.left_out
    assert world.now <= 80


def test_a_short_time_means_fewer_examples_not_baselines_alone() -> None:
    world = World(PROBE, TUNED, TFIDF)
    search = world.search(20)  # 0.06 s an example, with caution 19.5 s for 250
    finalists = search.run()
    assert search.final == 250 and world.now <= 20
    assert {arm.name for arm in finalists} >= {"bert fine-tune", "bert linear-probe"}


def test_less_time_than_any_fit_still_buys_one_out_of_the_boards_share() -> None:
    world = World(PROBE, TUNED, TFIDF)  # the probe on 100 examples takes 1 s
    search = world.search(0.5, grace=1.0)
    assert [arm.name for arm in search.run()] == ["bert linear-probe", "tfidf baseline"]
    assert "were left for it" in search.left_out["bert fine-tune"]
    world = World(PROBE, TFIDF)
    search = world.search(0.5)
    assert [arm.name for arm in search.run()] == ["tfidf baseline"]
    assert "100 examples would take about 1 s" in search.left_out["bert linear-probe"]


def test_what_takes_longer_than_expected_does_not_cost_the_favourite_its_fit() -> None:
    """The large model is expected to take a tenth of what it does."""
    world = World(PROBE, LARGE, TFIDF)
    search = world.search(22)
    search.guessed = lambda arm, train: (
        world.costs[arm.name] * train * (0.1 if arm.model == "llama" else 1)
    )
    finalists = search.run()
    assert ("bert linear-probe", 1000) in world.log
    assert finalists[0].name == "bert linear-probe"


def test_where_nothing_tells_a_cost_the_first_fit_is_a_small_one() -> None:
    """On all 100,000 examples the probe would take 1,000 s of the 20 s there are."""
    world = World(PROBE, TUNED, TFIDF)
    search = world.search(20, examples=100_000)
    search.guessed = lambda arm, train: world.costs[arm.name] * train if world.log else 0.0
    search.run()
    assert world.log[0] == ("bert linear-probe", 100)
    assert search.final > 100 and world.now <= 20 + world.costs["tfidf baseline"] * search.final


class Board:
    """Runs of five seconds, three of each arm but one of a baseline's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked: list[Arm] = []

    def runs(self, arms: Sequence[Arm]) -> int:
        return sum(1 if arm.baseline else 3 for arm in arms)

    def work(self, arms: Sequence[Arm]) -> None:
        self.now += 5 * self.runs([arm for arm in arms if arm not in self.worked])
        self.worked += [arm for arm in arms if arm not in self.worked]

    def within(self, deadline: float) -> tuple[list[str], dict[str, str]]:
        finalists = [TUNED[0], PROBE[0], TFIDF[0]]
        found, left_out = board_in_time(
            finalists, self.work, self.runs, deadline, clock=lambda: self.now
        )
        assert found == self.worked
        return [arm.name for arm in found], left_out


def test_a_board_ends_in_time_and_says_what_it_had_no_time_for() -> None:
    """The best arm and the baseline take 20 s; the other is expected to take 3 x 5 s x 1.3."""
    board = Board()
    assert board.within(40) == (
        ["bert fine-tune", "tfidf baseline", "bert linear-probe"], {}
    )  # fmt: skip
    assert board.now == 35
    board = Board()
    assert board.within(35) == (
        ["bert fine-tune", "tfidf baseline"],
        {"bert linear-probe": "scoring and timing it would take about 20 s, and 15 s were left "
                              "for it"},
    )  # fmt: skip
    assert board.now == 20


def test_the_best_and_a_baseline_are_an_answer_however_late_it_is() -> None:
    names, left_out = Board().within(0)
    assert names == ["bert fine-tune", "tfidf baseline"]
    assert "and 0 s were left" in left_out["bert linear-probe"]


def test_a_failed_fit_is_out_and_is_not_paid_for_again() -> None:
    world = World(PROBE, TUNED, STATIC, TFIDF, fails=(TUNED[0],))
    search = world.search(200)
    assert [arm.name for arm in search.run()] == [
        "bert linear-probe", "words linear-probe", "tfidf baseline"
    ]  # fmt: skip
    assert [name for name, _ in world.log].count("bert fine-tune") == 1


def test_baselines_alone_are_an_answer_where_there_is_nothing_else() -> None:
    world = World(TFIDF)
    assert [arm.name for arm in world.search(10).run()] == ["tfidf baseline"]


def simulated(draw: np.random.Generator) -> tuple[World, dict[str, float]]:
    """Five models, probed and fine-tuned, in a noisy order of promise; their scores on 2,000."""
    models = []
    for number in range(5):
        limit, gap = draw.uniform(0.7, 0.95), draw.uniform(0.5, 3)
        slope, seconds = draw.uniform(0.3, 1), 10 ** draw.uniform(-3, -1.2)
        steeper = min(1.4 * slope, 1.2)
        tuned = min(0.98, limit + draw.uniform(-0.03, 0.1))
        model = [
            (arm(f"m{number}", "linear-probe"),
             lambda n, a=limit, b=gap, c=slope: max(0.05, a - b * n**-c), seconds),
            (arm(f"m{number}", "fine-tune"),
             lambda n, a=tuned, b=3 * gap, c=steeper: max(0.05, a - b * n**-c),
             5 * seconds),
        ]  # fmt: skip
        promise = max(curve(2000) for _, curve, _ in model) + draw.normal(0, 0.04)
        models.append((promise, model))
    models.sort(key=lambda pair: -pair[0])
    candidates = [candidate for _, model in models for candidate in model]
    return World(*candidates), {arm.name: curve(2000) for arm, curve, _ in candidates}


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_with_a_part_of_the_time_for_everything_its_picks_beat_a_random_one_by_far(
    share: float,
) -> None:
    """Scores of 300 validation examples, and fits that take 20% more or less than they should."""
    draw = np.random.default_rng(1)
    mine, random = [], []
    for _ in range(40):
        world, real = simulated(draw)
        exact = world.fit

        def noisy(arm: Arm, train: int, exact: Any = exact) -> Fitted:
            fitted = exact(arm, train)
            score = draw.binomial(300, fitted.score) / 300
            return Fitted(train, score, fitted.seconds * draw.uniform(0.8, 1.2), 1.0)

        seconds = share * sum(2000 * cost for cost in world.costs.values())
        search = world.search(seconds, examples=2000)
        search.fit, search.validation = noisy, 300
        pick = search.run()[0]
        mine.append(max(real.values()) - real[pick.name])
        random.append(max(real.values()) - np.mean(list(real.values())))
    assert np.mean(mine) < np.mean(random) / 4
