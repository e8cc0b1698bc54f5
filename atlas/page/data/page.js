// The page's choices (a metric, sessions, arms) and the charts that follow them. Everything shown comes from the
// tables that the page carries; without this script the page shows the same charts as pictures.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("atlas").textContent);
  const tables = Object.fromEntries(Object.entries(page.tables).map(([name, packed]) => [name, unpacked(packed)]));
  const choice = { metric: page.metrics[0][0], sessions: page.sessions.at(-1), arms: new Set(page.arms) };
  const metricNames = Object.fromEntries(page.metrics);
  const plural = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
  const form = document.getElementById("choices");
  const tip = document.getElementById("tip");

  function unpacked(columns) {
    const values = Object.entries(columns).map(([name, column]) => [
      name,
      column.texts ? column.at.map((at) => column.texts[at]) : column,
    ]);
    return values[0][1].map((_, row) => Object.fromEntries(values.map(([name, column]) => [name, column[row]])));
  }

  const among = (value, wanted) => (Array.isArray(value) ? value.some((one) => wanted.has(one)) : wanted.has(value));

  // What a figure can show of the choice: its own metrics and checkpoints, the nearest where it lacks the chosen ones.
  function possible(figure) {
    const { metrics, checkpoints } = figure;
    const known = (metric) => !metrics.length || metrics.includes(metric);
    const metric = [choice.metric, page.nearest[choice.metric], metrics[0]].find(known);
    const earlier = checkpoints.filter((sessions) => sessions <= choice.sessions);
    return { metric, sessions: earlier.length ? Math.max(...earlier) : Math.min(...checkpoints) };
  }

  function chosen(figure, { metric, sessions }) {
    const when = (row) => {
      const value = row[figure.sessions];
      return figure.until ? value <= sessions : among(value, new Set([sessions]));
    };
    const belongs = (row) => Object.entries(figure.where).every(([column, values]) => values.includes(row[column]));
    return tables[figure.table].filter(
      (row) =>
        belongs(row) &&
        when(row) &&
        (!figure.metrics.length || row.metric === metric) &&
        figure.arms.some((column) => among(row[column], choice.arms)),
    );
  }

  // ---- drawing

  // Vega, which the page carries zipped.
  async function library() {
    const zipped = Uint8Array.from(atob(document.getElementById("vega").textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  async function drawnIn(node, spec) {
    const logLevel = 1; // errors: a metric without a placebo is no cause for a warning
    const options = { mode: "vega", renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip, logLevel };
    return (await vegaEmbed(node, structuredClone(spec), options)).view;
  }

  // Rows are copied: Vega writes into them, and charts share them.
  function fill(view, rows, top) {
    if (top !== undefined) view.signal("top", top);
    return view.data("rows", rows.map((row) => ({ ...row }))).resize().runAsync();
  }

  function greatest(rows, column) {
    return column ? Math.min(1, Math.max(0.05, ...rows.map((row) => row[column] * 1.1))) : undefined;
  }

  function panelOf(figure, arm) {
    const node = document.createElement("div");
    const heading = document.createElement("h4");
    heading.append(swatch(arm), ` ${arm}`);
    node.append(heading, document.createElement("div"));
    figure.node.append(node);
    return { node, view: drawnIn(node.lastChild, figure.spec) };
  }

  function swatch(arm) {
    const mark = document.createElement("span");
    mark.className = "swatch";
    mark.style.background = page.colours[arm];
    return mark;
  }

  function drawMany(figure, rows) {
    const top = greatest(rows, figure.top);
    const present = new Set(rows.map((row) => row.arm));
    for (const [arm, { node }] of figure.panels) node.hidden = !present.has(arm);
    const arms = page.arms.filter((arm) => present.has(arm));
    for (const arm of arms) if (!figure.panels.has(arm)) figure.panels.set(arm, panelOf(figure, arm));
    return Promise.all(
      arms.map(async (arm) => {
        const own = rows.map((row) => ({ ...row, own: row.arm === arm }));
        return fill(await figure.panels.get(arm).view, own, top);
      }),
    );
  }

  async function draw(figure) {
    const can = possible(figure);
    const rows = chosen(figure, can);
    figure.nothing.hidden = rows.length > 0;
    figure.node.hidden = rows.length === 0;
    const [finding, basis] = figure.said[`${can.metric}|${can.sessions}`] ?? figure.said[`|${can.sessions}`] ?? ["", ""];
    figure.finding.textContent = finding;
    figure.basis.textContent = basis;
    figure.aside.textContent = remarks(figure, can);
    figure.node.setAttribute("aria-label", `Chart. ${finding} The figures are in the table below it.`);
    figure.current = rows;
    figure.element.classList.add("drawn");
    listRows(figure);
    if (!rows.length) return;
    if (figure.repeat) await drawMany(figure, rows);
    else {
      figure.view ??= drawnIn(figure.node, figure.spec);
      await fill(await figure.view, rows, greatest(rows, figure.top));
    }
  }

  function remarks(figure, can) {
    const said = [];
    if (figure.metrics.length && can.metric !== choice.metric)
      said.push(`Not measured here as ${metricNames[choice.metric].toLowerCase()}: this is ${metricNames[can.metric].toLowerCase()}.`);
    if (can.sessions !== choice.sessions)
      said.push(`Nothing here after ${plural(choice.sessions, "session")}: this is after ${plural(can.sessions, "session")}.`);
    return said.join(" ");
  }

  function drawAll() {
    document.documentElement.dataset.busy = "yes";
    const few = choice.arms.size < page.arms.length ? "; what is said above the charts is about all arms" : "";
    document.getElementById("status").textContent =
      `${metricNames[choice.metric]} after ${plural(choice.sessions, "session")}, ` +
      `${choice.arms.size} of ${plural(page.arms.length, "arm")}${few}`;
    document.getElementById("counted").textContent = `${choice.arms.size} of ${page.arms.length}`;
    for (const node of document.querySelectorAll("[data-arm], [data-metric], [data-sessions]")) {
      const { arm, metric, sessions } = node.dataset;
      node.hidden =
        (arm !== undefined && !choice.arms.has(arm)) ||
        (metric !== undefined && !metric.split(" ").includes(choice.metric)) ||
        (sessions !== undefined && Number(sessions) !== choice.sessions);
    }
    return Promise.all(figures.map(draw)).then(() => { delete document.documentElement.dataset.busy; });
  }

  // ---- the table below a chart

  const write = {
    share: (value) => `${(100 * value).toFixed(1)}%`,
    points: (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(100 * value).toFixed(1)}`,
    nats: (value) => value.toFixed(3),
    count: (value) => value.toLocaleString("en"),
    text: (value) => value,
  };

  function cellOf(row, columns, kind) {
    const values = columns.split(" ").map((column) => row[column]);
    if (values.some((value) => value === null || value === undefined)) return "";
    return values.map(write[kind]).join(" to ");
  }

  function listRows(figure) {
    if (!figure.details.open) return;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const [heading, , kind] of figure.columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = heading;
      if (kind === "text") cell.className = "text";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of figure.current) {
      const line = body.insertRow();
      for (const [, columns, kind] of figure.columns) {
        const cell = line.insertCell();
        cell.textContent = cellOf(row, columns, kind);
        if (kind === "text") cell.className = "text";
      }
    }
    figure.details.querySelector(".wide").replaceChildren(table);
  }

  // ---- hovering

  function showTip(_, event, __, value) {
    tip.hidden = !value || typeof value !== "object";
    if (tip.hidden) return;
    const told = Object.entries(value).filter(([, said]) => !["null", "NaN", "undefined", "", "NaN%"].includes(said));
    tip.replaceChildren(...told.map(([name, said]) => {
      const line = document.createElement("div");
      const label = document.createElement("span");
      label.textContent = `${name}: `;
      line.append(label, said);
      return line;
    }));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 14}px`;
  }

  // ---- choosing; the address keeps the choice, so that it can be sent to someone

  function remember() {
    const arms = choice.arms.size === page.arms.length ? "" : `&arms=${[...choice.arms].join("+")}`;
    history.replaceState(null, "", `#metric=${choice.metric}&sessions=${choice.sessions}${arms}`);
  }

  function recall() {
    const said = Object.fromEntries(location.hash.slice(1).split("&").map((part) => part.split("=")));
    if (metricNames[said.metric]) choice.metric = said.metric;
    if (page.sessions.includes(Number(said.sessions))) choice.sessions = Number(said.sessions);
    const arms = said.arms?.split("+").filter((arm) => page.arms.includes(arm)) ?? [];
    if (arms.length) choice.arms = new Set(arms);
    for (const input of form.querySelectorAll("input")) {
      input.checked = input.type === "radio" ? String(choice[input.name]) === input.value : choice.arms.has(input.value);
    }
  }

  function choose() {
    const data = new FormData(form);
    choice.metric = data.get("metric");
    choice.sessions = Number(data.get("sessions"));
    choice.arms = new Set(data.getAll("arms"));
    remember();
    drawAll();
  }

  function listen() {
    form.addEventListener("change", (event) => {
      if (event.target.name === "scheme") document.documentElement.dataset.scheme = event.target.value;
      else choose();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of form.querySelectorAll("button[data-all]")) {
      button.addEventListener("click", () => {
        for (const input of form.querySelectorAll("input[name=arms]")) input.checked = button.dataset.all === "yes";
        choose();
      });
    }
    const panel = form.querySelector("details");
    document.addEventListener("click", (event) => { if (!panel.contains(event.target)) panel.open = false; });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      tip.hidden = true;
      if (panel.open) {
        panel.open = false;
        panel.querySelector("summary").focus();
      }
    });
  }

  const figures = [...document.querySelectorAll("figure[data-figure]")].map((element) => {
    const figure = { ...page.figures[element.dataset.figure], element, panels: new Map(), current: [] };
    for (const name of ["finding", "basis", "aside", "nothing"]) figure[name] = element.querySelector(`.${name}`);
    figure.node = element.querySelector(".chart");
    figure.details = element.querySelector("details.rows");
    figure.details.addEventListener("toggle", () => listRows(figure));
    return figure;
  });
  library().then(() => {
    document.documentElement.classList.add("live");
    recall();
    listen();
    return drawAll();
  });
})();
