// The form on a board's page: asks choose() and writes its answer. All text by textContent.
(() => {
  const form = document.getElementById("choose");
  const data = document.getElementById("choose-data");
  if (!form || !data) return;
  const told = JSON.parse(data.textContent);
  const { rows, rule } = told;
  const NAMED = 6;
  const out = document.getElementById("choose-answer");
  const keyOf = (r) => rule.key.map((name) => String(r[name])).join("/");
  const byKey = new Map();
  for (const row of rows) {
    if (!byKey.has(keyOf(row))) byKey.set(keyOf(row), []);
    byKey.get(keyOf(row)).push(row);
  }
  const flagOf = (name) => (name in rule.bounds ? rule.bounds[name].flag : `--${name}`);
  const say = (tag, text) => {
    const node = document.createElement(tag);
    node.textContent = text;
    out.append(node);
  };

  function question() {
    const asked = { task: form.elements.task.value, weights: {} };
    for (const name of ["examples", "device", ...Object.keys(rule.bounds), "percentile"]) {
      const text = form.elements[name] ? form.elements[name].value.trim() : "";
      if (text) asked[name] = name === "device" || name === "percentile" ? text : Number(text);
    }
    for (const name of Object.keys(rule.criteria)) {
      const field = form.elements[`weight_${name}`];
      if (field && Number(field.value) > 0) asked.weights[name] = Number(field.value);
    }
    if (!Object.keys(asked.weights).length) asked.weights = { score: 1 };
    return asked;
  }

  // the rows that an answer's candidate was judged by: nearest in training size, as choose() takes them
  function rowsOf(key, answer, asked) {
    const distance = (r) => {
      if (!r.train_examples) return Infinity;
      return asked.examples ? Math.abs(Math.log(r.train_examples / asked.examples)) : -r.train_examples;
    };
    return Object.entries(answer.boards).map(([task, suite]) =>
      byKey.get(key)
        .filter((r) => r.task === task && r.suite === suite && r.status === "ok" && r.score !== null)
        .sort((a, b) => distance(a) - distance(b) || (a.row_id < b.row_id ? -1 : 1))[0]
    );
  }

  const amount = (value, { unit }) => `${value >= 1e5 ? `${(value / 1e6).toPrecision(3)}M` : value.toPrecision(3)} ${unit}`.trim();

  function describe(key, answer, asked) {
    const mine = rowsOf(key, answer, asked);
    const mean = mine.reduce((sum, r) => sum + r.score, 0) / mine.length;
    const parts = [`${mine[0].model_name}, ${mine[0].recipe} (${mine[0].framework}), run by ` +
      `${mine[0].runtime} on ${mine[0].device} (${mine[0].dtype}): score ${mean.toFixed(3)}`];
    for (const [name, criterion] of Object.entries(rule.criteria)) {
      const found = mine.map((r) => r[criterion.column.replace("{percentile}", answer.percentile)]);
      if (name === "score" || found.some((v) => v === null)) continue;
      const value = criterion.more ? Math.min(...found) : Math.max(...found);
      const label = name === "latency" ? answer.percentile : criterion.label;
      parts.push(`${label} ${amount(value, criterion)}`);
    }
    return `${parts.join(", ")}; runs ${mine.flatMap((r) => r.runs).join(", ")}`;
  }

  const listed = (keys) => {
    const names = keys.slice(0, NAMED).map((key) => {
      const [row] = byKey.get(key);
      return `${row.model_name} ${row.recipe} in ${row.runtime}`;
    });
    const rest = keys.length - names.length;
    return names.join(", ") + (rest ? ` and ${rest} more` : "");
  };

  function sayTies(answer) {
    const { leader, recommended, tied, untested } = answer;
    const others = tied.filter((key) => key !== recommended);
    if (others.length && tied.includes(recommended)) {
      say("p", `Paired tests do not tell it from: ${listed(others)}. Of equals the cheaper is recommended, a linear ` +
        "baseline first.");
    }
    if (untested.length) say("p", `Not tested against ${listed([leader])}: ${listed(untested)}.`);
  }

  function sayHosts(answer, asked) {
    const hosts = (key) => rowsOf(key, answer, asked).map((r) => r.host_id).filter(Boolean);
    const mine = hosts(answer.recommended);
    const others = answer.ranking.map(([key]) => key).filter((key) => hosts(key).some((host) => !mine.includes(host)));
    if (mine.length && others.length) say("p", `Timed on another host than the recommended: ${listed(others)}.`);
  }

  function sayExcluded(excluded) {
    const groups = new Map();
    for (const { key, broken, unmeasured } of excluded) {
      for (const name of [...broken.map(flagOf), ...unmeasured.map((n) => `${flagOf(n)} (not measured)`)]) {
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(key);
      }
    }
    for (const [name, keys] of groups) say("p", `Excluded by ${name}, ${keys.length}: ${listed(keys)}.`);
  }

  // why nothing is near: no such device, or nobody was measured on a bound
  function sayNothing(answer, asked) {
    const there = answer.excluded.filter((e) => !e.broken.includes("device"));
    const lacking = [...new Set(there.flatMap((e) => e.unmeasured))].map(flagOf).sort();
    say("p", there.length ? `No candidate was measured on all of: ${lacking.join(", ")}.`
      : `Nothing was measured on ${asked.device || "what you ask"}.`);
  }

  const quoted = (text) => (/^[\w.,:=@%+\/-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`);

  // the results folder is known where the page was opened from disk
  function command(asked) {
    if (!told.command) return;
    const here = location.protocol === "file:";
    const folder = here ? decodeURIComponent(new URL(`${told.results}/`, location.href).pathname).replace(/(.)\/$/, "$1") : "RESULTS";
    const parts = [told.command, "--results", quoted(folder), "--task", quoted(asked.task)];
    for (const [name, value] of Object.entries(asked)) {
      if (name !== "task" && name !== "weights") parts.push(flagOf(name), quoted(String(value)));
    }
    parts.push("--weights", Object.entries(asked.weights).map(([n, w]) => `${n}=${w}`).join(","));
    say("p", "The same on a console, with reasons" + (here ? ":" : " (RESULTS: the folder with this suite's records):"));
    say("pre", parts.join(" "));
  }

  function update() {
    const asked = question();
    const answer = choose(told, asked);
    out.replaceChildren();
    out.dataset.answer = JSON.stringify({ question: asked, answer });
    if (answer.recommended) {
      say("p", `Recommended: ${describe(answer.recommended, answer, asked)}.`);
      sayTies(answer);
      sayHosts(answer, asked);
      const { readable, faithfulness } = answer.interpretability;
      if (readable) say("p", "A linear model: its weights are readable by themselves.");
      if (faithfulness) {
        const random = faithfulness.random === null ? "" : ` (random order: ${faithfulness.random.toFixed(3)})`;
        const sure = faithfulness.shown ? "" : "; not shown to be better than random";
        say("p", `Attributions on ${faithfulness.task}: AOPC comprehensiveness ${faithfulness.aopc.toFixed(3)}` +
          `${random}${sure}, measured in runtime ${faithfulness.runtime}.`);
      }
      say("p", answer.runner_up ? `Runner-up: ${describe(answer.runner_up, answer, asked)}.` : "No runner-up: nothing else is within the bounds.");
    } else if (answer.nearest) {
      say("p", `Nothing satisfies all of this; the nearest is ${describe(answer.nearest, answer, asked)}.`);
    } else {
      sayNothing(answer, asked);
    }
    sayExcluded(answer.excluded);
    command(asked);
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
})();
