// Which pretrained model to build on, from a leaderboard's flat rows: the rule of
// harness/choose/evidence.py, answer.py, ties.py and interpretability.py once more, for pages. A
// test runs both on the same questions; change them together.
//
//   choose({rows, pairs, rule}, question) -> {boards, percentile, recommended, runner_up, leader,
//       tied, untested, ranking, excluded, partial, nearest, interpretability}
//
// `rows` are those of leaderboard.json, `pairs` those of statistics.json, `rule` the tables that
// harness/choose/form.py writes. `question` has `task` (a task type or a data set's id) and, each
// optional: examples, device, percentile, weights (such as {score: 3, latency: 1}) and the bounds
// of `rule`. Candidates are named by model/recipe/framework/runtime/device/dtype.
"use strict";

function choose({ rows, pairs, rule }, question) {
  const { key: KEY, criteria: CRITERIA, bounds: BOUNDS } = rule;
  const more = (name) => CRITERIA[name].more;
  const weights = question.weights || { score: 1 };

  const known = (v) => v !== null && v !== undefined;
  const rounded = (v) => Math.floor(v * 1e6 + 0.5) / 1e6;
  const keyOf = (row) => KEY.map((name) => String(row[name])).join("/");
  // Arrays in the order of their parts, as Python's tuples.
  const before = (a, b) => {
    for (let i = 0; i < a.length; i++) {
      if (a[i] < b[i]) return -1;
      if (a[i] > b[i]) return 1;
    }
    return 0;
  };
  const least = (items, order) =>
    items.reduce((best, item) => (best === null || before(order(item), order(best)) < 0 ? item : best), null);
  const unique = (values) => [...new Set(values)].sort((a, b) => before([a], [b]));
  const distance = (row) => {
    const size = row.train_examples;
    if (!size) return Infinity;
    return question.examples ? rounded(Math.abs(Math.log(size / question.examples))) : -size;
  };

  // -- evidence: candidates on the same data sets ------------------------------------------------
  const scored = rows.filter(
    (r) => (r.task_type === question.task || r.task === question.task) && r.status === "ok" && known(r.score)
  );
  // without a prototype: a data set may be called "constructor"
  const boards = Object.create(null);
  const covered = new Map();
  for (const task of unique(scored.map((r) => r.task))) {
    const ofTask = scored.filter((r) => r.task === task);
    const nearness = (suite) => {
      const own = ofTask.filter((r) => r.suite === suite);
      return [Math.min(...own.map(distance)), -own.length, suite];
    };
    boards[task] = least(unique(ofTask.map((r) => r.suite)), nearness);
    for (const row of ofTask) {
      if (row.suite !== boards[task] || rule.guessing.includes(row.model_kind)) continue;
      const key = keyOf(row);
      if (!covered.has(key)) covered.set(key, Object.create(null));
      const mine = covered.get(key);
      const order = (r) => [distance(r), String(r.row_id)];
      if (!(task in mine) || before(order(row), order(mine[task])) < 0) mine[task] = row;
    }
  }
  const covers = (mine, tasks) => tasks.every((task) => task in mine);
  const mines = [...covered.values()].map((mine) => unique(Object.keys(mine)));
  const sets = unique([...mines, ...mines.flat().map((task) => [task])].map((set) => JSON.stringify(set)))
    .map((text) => JSON.parse(text));
  const coverage = (set) => [...covered.values()].filter((mine) => covers(mine, set)).length;
  const compared = least(sets, (set) => [-coverage(set) * set.length, -set.length, ...set]) || [];
  const keys = unique([...covered.keys()]);
  const whole = keys.filter((key) => covers(covered.get(key), compared));
  const partial = {};
  for (const key of keys) {
    if (!whole.includes(key)) partial[key] = compared.filter((task) => !(task in covered.get(key)));
  }
  const timed = whole
    .flatMap((key) => compared.map((task) => covered.get(key)[task]))
    .filter((row) => known(row.latency_p50_ms));
  const percentile = question.percentile ||
    (timed.length && timed.every((row) => known(row.latency_p99_ms)) ? "p99" : "p90");
  const candidates = whole.map((key) => {
    const mine = compared.map((task) => covered.get(key)[task]);
    const values = {};
    for (const [name, criterion] of Object.entries(CRITERIA)) {
      const column = criterion.column.replace("{percentile}", percentile);
      const found = mine.map((row) => row[column]).filter(known);
      if (found.length < mine.length) values[name] = null;
      else if (name === "score") values[name] = found.reduce((a, b) => a + b, 0) / found.length;
      else values[name] = criterion.more ? Math.min(...found) : Math.max(...found);
    }
    return { key, values, rows: mine, baseline: mine[0].recipe === "baseline" };
  });

  // -- ties: paired tests with the leader ---------------------------------------------------------
  const fitOf = (c) => JSON.stringify(["model", "recipe", "framework"].map((name) => c.rows[0][name]));
  const place = new Map();
  for (const { sides, p_values } of pairs) {
    for (const [id, side] of Object.entries(sides)) place.set(id, { side, p_values });
  }
  const pValue = (a, b) => {
    const [mine, other] = [place.get(a.row_id), place.get(b.row_id)];
    if (!mine || !other || mine.p_values !== other.p_values) return null;
    if (mine.side === other.side) return 1;
    return mine.p_values[Math.max(mine.side, other.side)][Math.min(mine.side, other.side)];
  };
  const pValues = (a, b) => a.rows.map((row, i) => pValue(row, b.rows[i]));
  const holm = (ps) => {
    const order = ps.map((_, i) => i).sort((i, j) => ps[i] - ps[j] || i - j);
    const adjusted = [];
    let least = 0;
    order.forEach((at, i) => {
      least = Math.max(least, ps[at] * (ps.length - i));
      adjusted[at] = Math.min(least, 1);
    });
    return adjusted;
  };
  // true: tied, false: told apart, null: not tested
  const verdict = (ps) => {
    if (ps.some((p) => p !== null && p <= rule.significance)) return false;
    return ps.includes(null) ? null : true;
  };
  const ties = (leader, admissible) => {
    const own = (c) => c.rows[0].runtime === c.rows[0].framework && c.rows[0].dtype !== "int8";
    const first = (c) => [own(c) ? 0 : 1, -rounded(c.values.score), c.key];
    const standsFor = new Map();
    for (const c of [...admissible].sort((a, b) => before(first(a), first(b)))) {
      if (!standsFor.has(fitOf(c))) standsFor.set(fitOf(c), c);
    }
    standsFor.set(fitOf(leader), leader);
    const tests = [...standsFor].filter(([, c]) => c !== leader).map(([fit, c]) => [fit, pValues(leader, c)]);
    const corrected = holm(tests.flatMap(([, ps]) => ps).filter(known));
    const ofFit = new Map([[fitOf(leader), true]]);
    for (const [fit, ps] of tests) ofFit.set(fit, verdict(ps.map((p) => (p === null ? null : corrected.shift()))));
    const found = (c) => {
      const [head, same] = [standsFor.get(fitOf(c)), ofFit.get(fitOf(c))];
      return c === head || !same ? same : verdict(pValues(head, c));
    };
    return {
      tied: admissible.filter((c) => found(c) === true), untested: admissible.filter((c) => found(c) === null),
    };
  };

  // -- answer: bounds, utilities, the cheaper of equals ------------------------------------------
  const cost = (c) => {
    const [latency, size, fit] = ["latency", "size", "fit_time"].map((name) =>
      known(c.values[name]) ? c.values[name] : Infinity
    );
    return [c.baseline ? 0 : 1, latency, size, fit, c.key];
  };
  const breaches = (c) => {
    const broken = question.device && c.rows[0].device !== question.device ? ["device"] : [];
    const unmeasured = [];
    for (const [name, { criterion }] of Object.entries(BOUNDS)) {
      const bound = question[name];
      const value = c.values[criterion];
      if (!known(bound)) continue;
      if (value === null) unmeasured.push(name);
      else if (more(criterion) ? value < bound : value > bound) broken.push(name);
    }
    return { broken, unmeasured };
  };
  const checked = candidates.map((c) => ({ c, ...breaches(c) }));
  const out = checked.filter((e) => e.broken.length || e.unmeasured.length);
  const admissible = checked.filter((e) => !e.broken.length && !e.unmeasured.length).map((e) => e.c);
  const excess = (e) => {
    let total = 0;
    for (const [name, { criterion }] of Object.entries(BOUNDS)) {
      if (!e.broken.includes(name)) continue;
      const [bound, value] = [question[name] || 0, e.c.values[criterion] || 0];
      const [low, high] = more(criterion) ? [value, bound] : [bound, value];
      total += low > 0 ? Math.log(high / low) : Infinity;
    }
    return Number.isFinite(total) ? rounded(total) : total;
  };
  const answer = {
    boards: Object.fromEntries(compared.map((task) => [task, boards[task]])),
    percentile, recommended: null, runner_up: null, leader: null, tied: [], untested: [], ranking: [],
    excluded: out.map(({ c, broken, unmeasured }) => ({ key: c.key, broken, unmeasured })),
    partial, nearest: null, interpretability: null,
  };
  if (!admissible.length) {
    const near = out.filter((e) => !e.broken.includes("device") && !e.unmeasured.length);
    const found = least(near, (e) => [excess(e), ...cost(e.c)]);
    answer.nearest = found ? found.c.key : null;
    return answer;
  }
  const leader = least(admissible, (c) => [-rounded(c.values.score), ...cost(c)]);
  const { tied, untested } = ties(leader, admissible);
  // Readable by itself, or the first faithfulness on record of it or of its fit's other runtimes.
  const interpretability = (best) => {
    if (rule.readable.includes(best.rows[0].model_kind)) return { readable: true, faithfulness: null };
    const row = [best, ...candidates.filter((c) => fitOf(c) === fitOf(best))]
      .flatMap((c) => c.rows)
      .find((r) => known(r.faithfulness_aopc));
    const faithfulness = row ? {
      task: row.task, runtime: row.runtime, aopc: row.faithfulness_aopc,
      random: known(row.faithfulness_aopc_random) ? row.faithfulness_aopc_random : null,
      shown: Boolean(row.faithfulness_shown),
    } : null;
    return { readable: false, faithfulness };
  };
  const share = (value, name) => {
    if (value === null) return 0;
    const all = admissible.map((c) => c.values[name]).filter(known);
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (low === high) return 1;
    if (name === "score") return (value - low) / (high - low);
    [low, high, value] = [low, high, value].map((v) => Math.log(Math.max(v, 1e-9)));
    const cheap = (high - value) / (high - low);
    return more(name) ? 1 - cheap : cheap;
  };
  const totalWeight = Object.values(weights).reduce((a, b) => a + b, 0);
  const utility = (c) => {
    let total = 0;
    for (const [name, weight] of Object.entries(weights)) {
      total += weight * (name === "score" && tied.includes(c) ? 1 : share(c.values[name], name));
    }
    return rounded(total / totalWeight);
  };
  const ranked = admissible
    .map((c) => ({ c, utility: utility(c) }))
    .sort((a, b) => before([-a.utility, ...cost(a.c)], [-b.utility, ...cost(b.c)]));
  const first = ranked[0].c;
  const others = ranked.slice(1).map((r) => r.c);
  const same = (c) => c.rows[0].model === first.rows[0].model && c.rows[0].recipe === first.rows[0].recipe;
  const next = others.find((c) => !same(c)) || others[0];
  answer.recommended = first.key;
  answer.runner_up = next ? next.key : null;
  answer.leader = leader.key;
  answer.tied = tied.map((c) => c.key);
  answer.untested = untested.map((c) => c.key);
  answer.interpretability = interpretability(first);
  answer.ranking = ranked.map((r) => [r.c.key, r.utility]);
  return answer;
}
