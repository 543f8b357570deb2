// The form on a board's page: asks choose() and writes its answer. All text by textContent.
(() => {
  const form = document.getElementById("choose");
  const data = document.getElementById("choose-data");
  if (!form || !data) return;
  const rows = JSON.parse(data.textContent);
  const out = document.getElementById("choose-answer");
  const keyOf = (r) => ["model", "recipe", "framework", "runtime", "device", "dtype"].map((n) => r[n]).join("/");
  const FLAGS = {
    device: "--device", max_latency_ms: "--max-latency-ms", max_size_mb: "--max-size-mb",
    max_memory_mb: "--max-memory-mb", max_fit_seconds: "--max-fit-seconds", min_score: "--min-score",
    examples: "--examples",
  };
  const say = (tag, text) => {
    const node = document.createElement(tag);
    node.textContent = text;
    out.append(node);
  };

  function question() {
    const asked = { task: form.elements.task.value, weights: {} };
    for (const name of Object.keys(FLAGS)) {
      const text = form.elements[name].value.trim();
      if (text) asked[name] = name === "device" ? text : Number(text);
    }
    for (const name of ["score", "latency", "size", "memory"]) {
      const weight = Number(form.elements[`weight_${name}`].value);
      if (weight > 0) asked.weights[name] = weight;
    }
    if (!Object.keys(asked.weights).length) asked.weights = { score: 1 };
    return asked;
  }

  function describe(key, answer) {
    const mine = rows.filter((r) => keyOf(r) === key && r.task in answer.boards);
    const mean = mine.reduce((sum, r) => sum + r.score, 0) / mine.length;
    const latency = Math.max(...mine.map((r) => r[`latency_${answer.percentile}_ms`] ?? NaN));
    const parts = [`${mine[0].model_name}, ${mine[0].recipe} (${mine[0].framework}), run by ` +
      `${mine[0].runtime} on ${mine[0].device} (${mine[0].dtype}): score ${mean.toFixed(3)}`];
    if (latency >= 0) parts.push(`${answer.percentile} ${latency.toPrecision(3)} ms`);
    if (mine[0].size_mb !== null) parts.push(`${mine[0].size_mb.toPrecision(3)} MB`);
    return `${parts.join(", ")}; runs ${mine.flatMap((r) => r.runs).join(", ")}`;
  }

  function update() {
    const asked = question();
    const answer = choose(rows, asked);
    out.replaceChildren();
    out.dataset.answer = JSON.stringify({ question: asked, answer });
    if (answer.recommended) {
      say("p", `Recommended: ${describe(answer.recommended, answer)}.`);
      if (answer.tied.length > 1 && answer.tied.includes(answer.recommended)) {
        say("p", `Paired tests cannot tell ${answer.tied.length} rows within bounds from the best; the cheapest ` +
          "of equals is recommended, a linear baseline first.");
      }
      const { readable, faithfulness } = answer.interpretability;
      if (readable) say("p", "A linear model: its weights are readable by themselves.");
      if (faithfulness) {
        const random = faithfulness.random === null ? "" : ` (random order: ${faithfulness.random.toFixed(3)})`;
        const sure = faithfulness.shown ? "" : "; not shown to be better than random";
        say("p", `Attributions on ${faithfulness.task}: AOPC comprehensiveness ${faithfulness.aopc.toFixed(3)}` +
          `${random}${sure}, measured in runtime ${faithfulness.runtime}.`);
      }
      say("p", answer.runner_up ? `Runner-up: ${describe(answer.runner_up, answer)}.` : "No runner-up: nothing else is within the bounds.");
    } else {
      say("p", answer.nearest ? `Nothing satisfies all of this; the nearest is ${describe(answer.nearest, answer)}.`
        : "Nothing was measured on what you ask.");
    }
    const counts = {};
    for (const out of answer.excluded) {
      for (const name of out.broken) counts[name] = (counts[name] || 0) + 1;
      for (const name of out.unmeasured) counts[`${name} (not measured)`] = (counts[`${name} (not measured)`] || 0) + 1;
    }
    const excluded = Object.entries(counts).map(([name, count]) => `${count} by ${name.replaceAll("_", " ")}`);
    if (excluded.length) say("p", `Excluded: ${excluded.join(", ")}.`);
    const flags = Object.entries(FLAGS).filter(([n]) => n in asked).map(([n, flag]) => ` ${flag} ${asked[n]}`).join("");
    const weights = Object.entries(asked.weights).map(([n, w]) => `${n}=${w}`).join(",");
    say("p", `The same on a console, with reasons: harness choose --suite ${rows[0].suite} --task ${asked.task}${flags} --weights ${weights}`);
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
})();
