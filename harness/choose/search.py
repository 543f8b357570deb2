"""Which candidates a search fits on how many examples, within its time.

Knows no framework: fits and the clock are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.choose.halving import (
    CAUTION,
    Fitted,
    better_half,
    expected_seconds,
    predicted,
    ranked,
    rungs,
)
from harness.choose.own_data import Arm

#: arms of the board that answers, besides the best baseline
FINALISTS = 2


@dataclass
class Search:
    """A search under way.

    Everything is fitted on all examples where that fits into the time. Else the final size is the
    largest at which the time allows for the most promising model. Its cheapest arm is fitted on it
    at once, the seconds of the others are set aside, and the rest is halved on the way there.

    ``shortlist``: neural arms, most promising first, of one model the cheaper first; ``guessed``:
    seconds that an arm may take on so many examples, before anything of it was fitted, 0 where
    nothing tells; ``fit``: None if it failed. ``examples``: all that there are to train on, of
    which ``smallest`` are the fewest that tell something; ``validation``: examples behind each
    score.
    """

    shortlist: Sequence[Arm]
    baselines: Sequence[Arm]
    examples: int
    smallest: int
    validation: int
    guessed: Callable[[Arm, int], float]
    fit: Callable[[Arm, int], Fitted | None]
    deadline: float
    #: seconds after the deadline that the first neural fit may take as well
    grace: float = 0.0
    clock: Callable[[], float] = time.monotonic
    fits: dict[str, list[Fitted]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    #: why an arm went no further, by its name
    left_out: dict[str, str] = field(default_factory=dict)
    #: the training size that decides
    final: int = 0
    #: arms whose fits at the final size are sure of their time
    favourite: list[Arm] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.deadline - self.clock()

    def run(self) -> list[Arm]:
        """Fit what time allows; the arms for the board, best first, then the best baseline."""
        self.favourite = [arm for arm in self.shortlist if arm.model == self.shortlist[0].model]
        for arm in self.favourite[:1]:
            if not self.takes(arm, self.examples):  # nothing tells its cost: a little of it does
                self._fit(arm, self.smallest)
        self._settle(self.examples)
        for arm in self.baselines:
            self._fit(arm, self.final)
        for arm in self.favourite[:1]:  # at once: estimates may be wrong, and time runs out early
            self._try(arm, self.final)
        alive = list(self.shortlist)
        for number, size in enumerate(self._small_sizes()):
            alive = [arm for arm in alive if self._goes_on(arm, size)]
            # one point is no curve
            alive = self._survivors(alive, size) if number else self._ranked(alive)
        self._settle(self.final)  # fits have told what they really take
        for arm in alive + self._ranked([arm for arm in self.shortlist if arm not in alive]):
            if self.largest(arm) < self.final:
                self._try(arm, self.final)
        return self._finalists()

    def takes(self, arm: Arm, train: int) -> float:
        """Expected seconds of a fit: from the arm's last one, else as guessed."""
        done = self.fits.get(arm.name)
        return expected_seconds(done[-1], train) if done else CAUTION * self.guessed(arm, train)

    def predicted(self, arm: Arm) -> float:
        """Its validation score on all examples; it must have been fitted."""
        return predicted(self.fits[arm.name], self.examples, self.validation)

    def largest(self, arm: Arm) -> int:
        """The largest training set that an arm was fitted on."""
        return max(self._sizes(arm), default=0)

    def _sizes(self, arm: Arm) -> list[int]:
        return [fit.train for fit in self.fits.get(arm.name, ())]

    def _settle(self, most: int) -> None:
        """The final size: the largest of ``most``, a half, a quarter, ... at which the time allows
        for the favourite, or for its cheapest arm. Where not even that: the fewest useful."""
        for arms in (self.favourite, self.favourite[:1]):
            size = most
            while size >= self.smallest:
                waiting = [arm for arm in arms if self.largest(arm) < size]
                if sum(self.takes(arm, size) for arm in waiting) <= self.left:
                    self.final, self.favourite = size, arms
                    return
                size //= 2
        self.final, self.favourite = min(self.smallest, most), self.favourite[:1]

    def _small_sizes(self) -> list[int]:
        """None where everything fits in on all examples."""
        everything = sum(self.takes(arm, self.final) for arm in self.shortlist) <= self.left
        if everything and self.final == self.examples:
            return []
        return rungs(self.final, self.smallest)[:-1]

    def _goes_on(self, arm: Arm, size: int) -> bool:
        """Fit an arm on a small size, unless it is known on all examples, or has its time at the
        final size; False if there is no time or it failed."""
        if self.largest(arm) == self.examples or size in self._sizes(arm):
            return True
        return self._try(arm, size) or arm in self.favourite

    def _try(self, arm: Arm, size: int) -> bool:
        """Fit an arm if there is time for it; False if it was not, or failed."""
        if arm.name in self.failed:
            return False
        left = self.left
        if not any(other.name in self.fits for other in self.shortlist):
            left += self.grace  # something pretrained is tried, even if only just
        left -= sum(
            self.takes(other, self.final)
            for other in self.favourite
            if self.largest(other) < self.final and (other, self.final) != (arm, size)
        )
        expected = self.takes(arm, size)
        if expected > left:
            self.left_out[arm.name] = (
                f"{size:,} examples would take about {expected:.0f} s, and {max(left, 0):.0f} s "
                "were left for it"
            )
            return False
        return self._fit(arm, size)

    def _fit(self, arm: Arm, size: int) -> bool:
        self.left_out.pop(arm.name, None)
        fitted = self.fit(arm, size)
        if fitted is None:
            self.failed.add(arm.name)
            self.favourite = [other for other in self.favourite if other != arm]
            return False
        self.fits.setdefault(arm.name, []).append(fitted)
        return True

    def _ranked(self, arms: Sequence[Arm]) -> list[Arm]:
        """Best predicted score first; arms that were not fitted yet before all, as shortlisted."""
        scores = {arm.name: self.predicted(arm) for arm in arms if arm.name in self.fits}
        names = ranked(scores, [arm.name for arm in self.shortlist], self.validation)
        known = {arm.name: arm for arm in arms if arm.name in scores}
        return [arm for arm in arms if arm.name not in scores] + [known[name] for name in names]

    def _survivors(self, alive: list[Arm], size: int) -> list[Arm]:
        """The better half by predicted score; the best of it is now the favourite.

        The best arm of the most promising model stays as well, however it compares.
        """
        order = self._ranked(alive)
        unknown = [arm for arm in order if arm.name not in self.fits]  # set aside for the last
        kept = unknown + better_half(order[len(unknown) :])
        kept += [a for a in order if a.model == self.shortlist[0].model and a not in kept][:1]
        self.favourite = kept[:1]
        for arm in order:
            if arm not in kept:
                self.left_out[arm.name] = (
                    f"after {size:,} examples it is expected to score {self.predicted(arm):.3f} on "
                    f"all {self.examples:,}, in the lower half"
                )
        return kept

    def _finalists(self) -> list[Arm]:
        """Of the arms that got furthest: to the final size, or as far as any."""
        largest = max((self.largest(arm) for arm in self.shortlist), default=0)
        reached = min(self.final, largest)
        neural = [arm for arm in self.shortlist if reached and self.largest(arm) >= reached]
        fitted = [arm for arm in self.baselines if arm.name in self.fits]
        baseline = sorted(fitted, key=lambda arm: (-self.fits[arm.name][-1].score, arm.name))
        return self._ranked(neural)[:FINALISTS] + baseline[:1]


def board_in_time(
    finalists: Sequence[Arm],
    work: Callable[[Sequence[Arm]], object],
    runs: Callable[[Sequence[Arm]], int],
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Arm], dict[str, str]]:
    """Score and time what time allows: the arms on the board, and why others are not, by name.

    The best arm and the best baseline are an answer, and always worked; any other only where it is
    expected to end before the deadline, by what each of their runs took. ``work``: makes what is
    missing of these arms' ``runs``.
    """
    board = [arm for arm in finalists if arm == finalists[0] or arm.baseline]
    begun = clock()
    work(board)
    seconds_a_run = (clock() - begun) / max(runs(board), 1)
    left_out = {}
    for arm in finalists:
        if arm in board:
            continue
        expected, left = CAUTION * seconds_a_run * runs([arm]), deadline - clock()
        if expected > left:
            left_out[arm.name] = (
                f"scoring and timing it would take about {expected:.0f} s, and "
                f"{max(left, 0):.0f} s were left for it"
            )
        else:
            board.append(arm)
            work(board)
    return board, left_out
