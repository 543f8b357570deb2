"""Which settings a linear probe makes use of; a suite that gives it others is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.suite import LoadedSuite

_RECIPE: Final = "linear-probe"
_SEARCH = ("tune", "space", _RECIPE)
_ALWAYS = frozenset({"hidden", "label_smoothing", "augment"})
#: of a linear head, whose optimum is computed
_OPTIMUM = frozenset({"C"})
#: of hidden layers, which Adam trains at a constant rate
_TRAINED = frozenset({"epochs", "batch_size", "learning_rate"})


def used(settings: Mapping[str, Any]) -> set[str]:
    """Names of the settings on which a linear probe depends; ``settings``: all that are given."""
    names = {*_ALWAYS, *(_TRAINED if settings.get("hidden") else _OPTIMUM)}
    if settings.get("augment"):
        names.add("epochs")  # as many augmented copies
    if settings.get("fit_dtype", "auto") in ("auto", "float32"):
        names.add("fit_dtype")  # frozen features are float32 whatever is asked for
    return names


def refuse_ignored(loaded: LoadedSuite) -> None:
    """`RequestError` with file and line for a setting that changes nothing wherever it is given.

    Settings of the recipe count where one of its entries makes use of them, settings of an entry
    where one of its tasks does, those of a search where one of its trials does.
    """
    suite = loaded.suite
    space = suite.tune.space.get(_RECIPE, {}) if suite.tune else {}
    given: dict[tuple[str | int, ...], Mapping[str, Any]] = {}
    effective: dict[tuple[str | int, ...], set[str]] = {}
    for i, entry in enumerate(suite.matrix):
        if entry.recipe != _RECIPE:
            continue
        for task in entry.tasks:
            layers: dict[tuple[str | int, ...], Mapping[str, Any]] = {
                ("settings", _RECIPE): suite.settings.get(_RECIPE, {}),
                ("matrix", i, "settings"): entry.settings,
                ("matrix", i, "settings_by_task", task): entry.settings_by_task.get(task, {}),
            }
            together = {name: value for layer in layers.values() for name, value in layer.items()}
            given |= layers
            for at in layers:
                effective.setdefault(at, set()).update(used(together))
            given[_SEARCH] = space
            for point in _points(space):
                effective.setdefault(_SEARCH, set()).update(used(together | point))
    for at, values in given.items():
        for name in values:
            if name not in effective[at]:
                raise RequestError(
                    f"{loaded.where(*at, name)}: {name!r} changes nothing in this linear probe; it "
                    f"takes {', '.join(sorted(effective[at]))} (`hidden` layers are trained, by "
                    f"{', '.join(sorted(_TRAINED))})"
                )


def _points(space: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Of a search: the values of those settings that decide which others count."""
    names = [name for name in ("hidden", "augment", "fit_dtype") if name in space]
    for values in product(*(space[name] for name in names)):
        yield dict(zip(names, values, strict=True))
