// Glue between the page's data and its libraries: DataTables sorts, filters and pages, Vega draws.
// Where they are missing, a plain table sorts and filters by the few lines at the end.
// Names are not ours: every text enters the page through textContent, never as markup.
"use strict";
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const board = read("board-data");
  const table = document.getElementById("board");
  const form = document.getElementById("controls");
  const shown = document.getElementById("shown");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const cell = value => (Array.isArray(value) ? value[0] : value);
  const key = value => (Array.isArray(value) ? value[1] : value);

  function make(tag, properties, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function opener(row) {
    const text = cell(board.rows[row][board.button]);
    const button = make("button", { type: "button", className: "open", textContent: text });
    button.dataset.row = row;
    button.setAttribute("aria-haspopup", "dialog");
    return button;
  }

  // ---- filters -------------------------------------------------------------------------------
  const controls = form ? [...form.querySelectorAll("[data-key]")] : [];
  function passes(row) {
    const facts = board.facts[row];
    return controls.every(control => {
      if (control.value === "") return true;
      const value = facts[control.dataset.key];
      if (control.dataset.bound === "max") return value !== null && value <= Number(control.value);
      if (control.dataset.bound === "min") return value !== null && value >= Number(control.value);
      return String(value) === control.value;
    });
  }

  // ---- the table, by DataTables --------------------------------------------------------------
  function rich() {
    const last = (sign) => (a, b) => {  // rows without a figure come last, whichever the order
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    };
    DataTable.type("figure", { order: { asc: last(1), desc: last(-1) } });
    const columns = board.columns.map((column, index) => ({
      name: column.key,
      visible: !column.hidden,
      type: column.numeric ? "figure" : "string",
      className: column.numeric ? "number" : "",
      render: (data, type, row, meta) => {
        if (type === "sort" || type === "type") return key(data);
        if (type === "display") return ""; // createdCell writes the text
        return cell(data);
      },
      createdCell: (td, data, row, at) => {
        if (index === board.button) td.replaceChildren(opener(at));
        else td.textContent = cell(data);
      },
    }));
    const order = board.order ? [[board.order[0], board.order[1]]] : [];
    const view = new DataTable(table, {
      data: board.rows, columns, order, autoWidth: false, deferRender: true,
      pageLength: 50, lengthMenu: [25, 50, 100, 500],
      orderMulti: true, keys: false,
      language: { search: "Search", lengthMenu: "Rows a page _MENU_", emptyTable: "no rows" },
      layout: {
        topStart: { buttons: [{ extend: "colvis", text: "Columns", columns: () => true }] },
        topEnd: "search", bottomStart: ["info", "pageLength"], bottomEnd: "paging",
      },
    });
    const scroller = table.closest(".dt-layout-table");
    scroller.tabIndex = 0;
    scroller.setAttribute("role", "region");
    scroller.setAttribute("aria-label", "The board, scrolls sideways");
    view.search.fixed("controls", (text, data, index) => passes(index));
    return {
      redraw: () => view.draw(),
      rows: () => view.rows({ search: "applied" }).indexes().toArray(),
      onDraw: run => view.on("draw", run),
      column: (name, visible) => {
        const at = board.columns.findIndex(column => column.key === name);
        if (at >= 0) view.column(at).visible(visible);
      },
    };
  }

  // ---- the same, plainer ---------------------------------------------------------------------
  function plain() {
    const lines = [...table.tBodies[0].rows].map((line, row) => ({ line, row }));
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", className: "sort", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        const value = entry => key(board.rows[entry.row][column]);
        lines.sort((a, b) => {
          const x = value(a), y = value(b);
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
        });
        table.tBodies[0].append(...lines.map(entry => entry.line));
      });
    });
    const listeners = [];
    const kept = () => lines.filter(entry => passes(entry.row)).map(entry => entry.row);
    return {
      redraw: () => {
        lines.forEach(entry => { entry.line.hidden = !passes(entry.row); });
        listeners.forEach(run => run());
      },
      rows: kept, onDraw: run => listeners.push(run), column: () => {},
    };
  }

  document.documentElement.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", () => document.documentElement.classList.toggle("dark", dark.matches));
  const view = window.DataTable ? rich() : plain();
  const task = controls.find(control => control.dataset.key === "task");
  function count() {
    const rows = view.rows().length;
    const carried = board.rows.length < board.total
      ? ` (the first of ${board.total.toLocaleString("en")}; all are in leaderboard.csv)` : "";
    shown.textContent = `${rows.toLocaleString("en")} of ${board.rows.length.toLocaleString("en")} rows${carried}`;
  }
  function apply() {
    if (task) view.column("task", task.value === "");
    view.redraw();
  }
  if (form) {
    form.addEventListener("input", apply);
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => { if (task) task.value = ""; apply(); }));
  }
  view.onDraw(count);
  apply();

  // ---- pictures, by Vega ---------------------------------------------------------------------
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim(), line = style.getPropertyValue("--line").trim();
    const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12 };
    return {
      background: "transparent", font: "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
      axis: { ...text, gridColor: line, domainColor: line, tickColor: line }, legend: { ...text, orient: "bottom", columns: 3 },
      view: { stroke: line }, text: { color: ink }, rule: { color: ink }, point: { color: ink }, line: { color: ink },
      range: { category: dark.matches
        ? ["#79c0ff", "#ffa657", "#7ee787", "#d2a8ff", "#ff7b72", "#e3b341"]
        : ["#0550ae", "#953800", "#116329", "#6639ba", "#a40e26", "#7d4e00"] },
    };
  }
  async function draw(place, spec, values) {
    const filled = { ...spec, data: { values }, config: theme() };
    const renderer = values.length > 1000 ? "canvas" : "svg";
    const result = await vegaEmbed(place, filled, {
      ast: true, renderer, loader: { http: { credentials: "omit" } }, downloadFileName: "leaderboard",
      actions: { export: true, source: false, compiled: false, editor: false },
    });
    result.view.addEventListener("click", (event, item) => {
      if (item && item.datum && Number.isInteger(item.datum.row)) openEvidence(item.datum.row);
    });
    const save = place.querySelector("summary"); // vega-embed's menu has a picture for a name
    if (save) save.setAttribute("aria-label", "Save this picture");
    place.dataset.drawn = values.filter(value => !value.guesses).length;
  }
  const costs = document.getElementById("cost-chart");
  function drawCosts() {
    const cost = document.getElementById("cost").value;
    const rows = view.rows();
    const chosen = task && task.value !== "" ? task.value : rows.length ? board.facts[rows[0]].task : "";
    const values = rows.map(row => ({ ...board.facts[row], row }))
      .filter(facts => facts.task === chosen && facts.score !== null);
    document.getElementById("cost-task").textContent = board.tasks[chosen] || chosen;
    return draw(costs, board.costs[cost], values);
  }
  function drawPictures() {
    if (!window.vegaEmbed) return;
    if (costs) drawCosts();
    for (const place of document.querySelectorAll("[data-picture]")) {
      const picture = board.pictures[place.dataset.picture];
      draw(place, picture.spec, picture.values);
    }
  }
  if (window.vegaEmbed) {
    drawPictures();
    dark.addEventListener("change", drawPictures);
    if (costs) {
      let waiting = 0;
      view.onDraw(() => { clearTimeout(waiting); waiting = setTimeout(drawCosts, 60); });
      document.getElementById("cost").addEventListener("change", drawCosts);
    }
  }

  // ---- evidence ------------------------------------------------------------------------------
  const dialog = document.getElementById("evidence");
  let evidence = null;
  function listing(block) {
    const list = make("dl", {});
    for (const [label, text] of block.facts) list.append(make("dt", { textContent: label }), make("dd", { textContent: text }));
    return list;
  }
  function grid(block) {
    const head = make("tr", {}, ...block.head.map(text => make("th", { scope: "col", textContent: text })));
    const body = make("tbody", {});
    block.rows.forEach((line, i) => {
      const cells = line.map((text, j) => {
        if (j === 0) return make("th", { scope: "row", textContent: text });
        const td = make("td", { textContent: text });
        const share = block.shade && block.shade[i][j];
        if (share) { td.className = "shaded"; td.style.setProperty("--share", share); }
        if (/^runs\/[0-9a-f]+\/(metrics|status)\.json$/.test(text)) td.replaceChildren(make("a", { href: text, textContent: text }));
        return td;
      });
      body.append(make("tr", {}, ...cells));
    });
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), body));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", block.title);
    return scroll;
  }
  function openEvidence(row) {
    evidence = evidence || read("evidence-data");
    const facts = board.facts[row];
    const blocks = evidence[facts.row_id];
    document.getElementById("evidence-title").textContent =
      `${facts.label}, ${facts.runtime} on ${facts.device}: ${board.tasks[facts.task] || facts.task}`;
    const body = document.getElementById("evidence-body");
    body.replaceChildren(make("p", { className: "note", textContent: `row ${facts.row_id}` }));
    for (const block of blocks || []) {
      body.append(make("h3", { textContent: block.title }), block.facts ? listing(block) : grid(block));
      if (block.note) body.append(make("p", { className: "note", textContent: block.note }));
    }
    if (!blocks) body.append(make("p", { textContent: board.recorded
      ? `This page does not carry its evidence, to stay small. See it with: harness show ${facts.row_id}`
      : "The rows of this page came without their records." }));
    dialog.showModal();
    dialog.scrollTop = 0;
    history.replaceState(null, "", `#row=${facts.row_id}`);
  }
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  document.getElementById("evidence-close").addEventListener("click", () => dialog.close());
  table.addEventListener("click", event => {
    const button = event.target.closest("button.open[data-row]");
    if (button) openEvidence(Number(button.dataset.row));
  });
  const linked = /^#row=([0-9a-f]+)$/.exec(location.hash);
  if (linked) {
    const row = board.facts.findIndex(facts => facts.row_id === linked[1]);
    if (row >= 0) openEvidence(row);
  }
  document.documentElement.dataset.ready = "yes";
})();
