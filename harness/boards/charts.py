"""Pictures as Vega-Lite specifications: plain data, drawn by Vega in a page or by vl-convert.

Each function returns a specification whose rows go into ``data.values``; names in them are data,
never markup. Shapes and labels carry what colour says, so that all read without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.boards.explorer import COSTS

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

_TOOLTIP = [
    {"field": "label", "title": "fit"},
    {"field": "runtime", "title": "runtime"},
    {"field": "device", "title": "device"},
    {"field": "host_id", "title": "host"},
    {"field": "dtype", "title": "dtype"},
    {"field": "rank", "title": "rank"},
    {"field": "score", "title": "score", "format": ".3f"},
    {"field": "score_low", "title": "95% low", "format": ".3f"},
    {"field": "score_high", "title": "95% high", "format": ".3f"},
]
_SCORE_AXIS = {"type": "quantitative", "scale": {"zero": False}, "title": "score"}


def cost_chart(cost: str) -> Spec:
    """Score against a cost (a key of `COSTS`), intervals as bars, Pareto fronts as lines.

    Rows of one task, as in ``Explorer.facts``. Fronts follow `harness.boards.fronts`: of complete
    rows, one for each host and training size. Models that only guess count in them and are not
    drawn: they would squeeze all others into a corner.
    """
    drawn = {"filter": "!datum.guesses"}
    rivals = ["host_id", "train_budget"]
    x = {
        "field": cost,
        "type": "quantitative",
        "title": COSTS[cost],
        "scale": {"type": "log", "nice": False, "padding": 24},
        "axis": {"format": "~g", "tickCount": 6},
    }
    y = {"field": "score", **_SCORE_AXIS}
    tooltip = [*_TOOLTIP, {"field": cost, "title": COSTS[cost], "format": ".3~r"}]
    front = {
        "transform": [
            {"filter": "datum.status === 'ok'"},
            {
                "window": [{"op": "max", "field": "score", "as": "best"}],
                "groupby": rivals,
                "sort": [
                    {"field": cost, "order": "ascending"},
                    {"field": "score", "order": "descending"},
                ],
                "frame": [None, 0],
            },
            {
                "window": [{"op": "lag", "field": "best", "as": "before"}],
                "groupby": rivals,
                "sort": [
                    {"field": cost, "order": "ascending"},
                    {"field": "score", "order": "descending"},
                ],
            },
            {"filter": "datum.before === null || datum.score > datum.before"},
            drawn,
        ],
        "mark": {"type": "line", "interpolate": "step-after", "strokeDash": [5, 4]},
        "encoding": {
            "x": x, "y": y, "detail": [{"field": key, "type": "nominal"} for key in rivals],
        },
    }  # fmt: skip
    bars = {
        "transform": [drawn, {"filter": "isValid(datum.score_low) && isValid(datum.score_high)"}],
        "mark": {"type": "rule", "opacity": 0.45},
        "encoding": {
            "x": x, "y": {"field": "score_low", **_SCORE_AXIS}, "y2": {"field": "score_high"},
        },
    }  # fmt: skip
    points = {
        "transform": [drawn],
        "mark": {"type": "point", "filled": True, "size": 90, "cursor": "pointer"},
        "encoding": {
            "x": x,
            "y": y,
            "shape": {"field": "runtime", "type": "nominal", "title": "runtime"},
            "color": {"field": "runtime", "type": "nominal", "title": "runtime"},
            "tooltip": tooltip,
        },
    }
    ranks = {
        "transform": [drawn, {"filter": "isValid(datum.rank)"}],
        "mark": {"type": "text", "align": "left", "dx": 8, "dy": -7, "fontSize": 11},
        "encoding": {"x": x, "y": y, "text": {"field": "rank"}},
    }
    return {
        **_frame(f"Score against {COSTS[cost]}; a dashed line: nothing cheaper beats it"),
        "height": 340,
        "transform": [
            {"filter": f"isValid(datum.score) && isValid(datum['{cost}']) && datum['{cost}'] > 0"}
        ],
        "layer": [front, bars, points, ranks],
    }


def score_chart(limit: int) -> Spec:
    """Scores of a task's fits with their 95% intervals, best above; the first ``limit`` of them."""
    y = {"field": "label", "type": "nominal", "sort": None, "title": None,
         "axis": {"labelLimit": 320}}  # fmt: skip
    low_high = {"x": {"field": "score_low", **_SCORE_AXIS}, "x2": {"field": "score_high"}, "y": y}
    return {
        **_frame("Score of each fit with its 95% interval"),
        "height": {"step": 24},
        "transform": [
            {"window": [{"op": "row_number", "as": "place"}]},
            {"filter": f"isValid(datum.score) && datum.place <= {limit}"},
        ],
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": low_high},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": {"field": "score", **_SCORE_AXIS}, "y": y, "tooltip": _TOOLTIP},
            },
        ],
    }


def heat_map(order: Sequence[str]) -> Spec:
    """Win rates: rows of ``row``, ``column`` (names, in that order) and ``share`` (0 to 1)."""
    axis = {"type": "nominal", "sort": list(order), "axis": {"labelLimit": 220}}
    place = {
        "y": {"field": "row", **axis, "title": "this fit ..."},
        "x": {"field": "column", **axis, "title": "... beats this one",
              "axis": {"labelLimit": 220, "labelAngle": -40}},
    }  # fmt: skip
    shade = {
        "field": "share", "type": "quantitative", "title": "share of comparisons won",
        "scale": {"scheme": "blues", "domain": [0, 1]}, "legend": {"format": ".0%"},
    }  # fmt: skip
    dark = {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": "black"}
    return {
        **_frame("How often each fit beats each other one"),
        "height": {"step": 34},
        "layer": [
            {
                "mark": {"type": "rect"},
                "encoding": {
                    **place, "color": shade,
                    "tooltip": [
                        {"field": "row", "title": "fit"}, {"field": "column", "title": "against"},
                        {"field": "share", "title": "wins", "format": ".0%"},
                    ],
                },
            },
            {
                "mark": {"type": "text"},
                "encoding": {
                    **place, "text": {"field": "share", "format": ".0%"}, "color": dark,
                },
            },
        ],
    }  # fmt: skip


def learning_curves(labels: Sequence[str], sizes: Sequence[int] = ()) -> Spec:
    """Score by training size: rows of ``label``, ``examples``, ``place``, ``score``, ``low``,
    ``high`` and ``kind``: ``measured``, ``fitted`` (lines with bands) or ``expected`` (hollow).

    ``place`` is ``examples``, moved a little where points of several fits would hide each other.
    ``labels``: all of them, in order; ``sizes``: to mark on the axis.
    """
    x = {
        "field": "place", "type": "quantitative", "title": "training examples",
        "scale": {"type": "log", "nice": False, "padding": 16},
        "axis": {"format": ",", "grid": False, "labelOverlap": True,
                 **({"values": list(sizes)} if sizes else {})},
    }  # fmt: skip
    y = {"field": "score", **_SCORE_AXIS}
    # one domain for colour and shape makes one legend of them; points tell whose a dashed line is
    tone = {
        "field": "label", "type": "nominal", "title": None, "scale": {"domain": list(labels)},
        "legend": {"orient": "bottom", "columns": 1, "labelLimit": 300, "symbolSize": 90,
                   "symbolOpacity": 1},
    }  # fmt: skip
    dashes = {**tone, "legend": None}
    low_high = {"y": {"field": "low", **_SCORE_AXIS}, "y2": {"field": "high"}}
    tooltip = [
        {"field": "label", "title": "fit"},
        {"field": "kind", "title": "score is"},
        {"field": "examples", "title": "training examples", "format": ","},
        {"field": "score", "title": "score", "format": ".3f"},
        {"field": "low", "title": "95% low", "format": ".3f"},
        {"field": "high", "title": "95% high", "format": ".3f"},
    ]

    def layer(kind: str, mark: Spec, **encoding: Any) -> Spec:
        only = [{"filter": f"datum.kind === '{kind}'"}]
        return {"transform": only, "mark": mark, "encoding": {"x": x, "color": tone, **encoding}}

    seen = {"y": y, "shape": tone, "tooltip": tooltip}
    return {
        **_frame("Score by number of training examples; lines are fitted power laws"),
        "height": 340,
        "layer": [
            layer("fitted", {"type": "area", "opacity": 0.13}, **low_high),
            layer("fitted", {"type": "line", "opacity": 0.8}, y=y, strokeDash=dashes),
            layer("measured", {"type": "rule", "opacity": 0.7}, **low_high),
            layer("expected", {"type": "point", "filled": False, "size": 70}, **seen),
            layer("measured", {"type": "point", "filled": True, "size": 80, "opacity": 1}, **seen),
        ],
    }


def rank_chart(critical: bool = False) -> Spec:
    """Mean ranks over tasks: rows of ``label``, ``rank``, ``low``, ``high`` (95%), and with
    ``critical`` the rank of that name, up to which none can be told from the best."""
    y = {"field": "label", "type": "nominal", "sort": None, "title": None,
         "axis": {"labelLimit": 320}}  # fmt: skip
    x = {"type": "quantitative", "title": "mean rank (1 is best)", "scale": {"zero": False}}
    line = {
        "mark": {"type": "rule", "strokeDash": [5, 4]},
        "encoding": {"x": {"aggregate": "min", "field": "critical", **x}},
    }
    return {
        **_frame("Mean rank over all tasks"),
        "height": {"step": 24},
        "layer": [
            *([line] if critical else []),
            {
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": {"field": "low", **x}, "x2": {"field": "high"}, "y": y},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {
                    "x": {"field": "rank", **x}, "y": y,
                    "tooltip": [
                        {"field": "label", "title": "fit"},
                        {"field": "rank", "title": "mean rank", "format": ".2f"},
                        {"field": "low", "title": "95% low", "format": ".2f"},
                        {"field": "high", "title": "95% high", "format": ".2f"},
                    ],
                },
            },
        ],
    }  # fmt: skip


def filled(spec: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], width: int = 720) -> Spec:
    """A specification that stands alone: with its rows, and a width in pixels."""
    return {**spec, "data": {"values": list(rows)}, "width": width}


def _frame(description: str) -> Spec:
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": []},
    }
