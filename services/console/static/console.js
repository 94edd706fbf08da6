// What pages gain from scripts: theme, copying, dialogs, local times, charts. Every page works without.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // ---- theme: runs at once, so that a page does not flash in the other one ----

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("theme");
      localStorage.setItem("theme", value);
    } catch { /* a browser that keeps nothing follows the system */ }
    return null;
  };
  const chosen = kept();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function switchTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    kept(root.dataset.theme);
    drawCharts();
  }

  // ---- copying ----

  async function copy(button) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch { // plain http has no clipboard: leave the text selected for the keyboard
      const text = button.closest(".code, .copyable").querySelector("code");
      if (text) getSelection().selectAllChildren(text);
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = label; }, 1600);
  }

  // ---- dialogs ----

  function openDialog(summary) {
    const dialog = document.getElementById(summary.dataset.dialog);
    summary.parentElement.open = true;
    if (!dialog.open) dialog.showModal();
    dialog.addEventListener("close", () => { summary.parentElement.open = false; }, { once: true });
  }

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-copy], [data-dismiss], [data-close], [data-dialog], [data-theme-switch]");
    if (!target) {
      const menu = document.querySelector("details.more[open]");
      if (menu && !menu.contains(event.target)) menu.open = false;
      return;
    }
    const { dataset } = target;
    if ("copy" in dataset) copy(target);
    else if ("dismiss" in dataset) target.closest(".toast").remove();
    else if ("close" in dataset) target.closest("dialog").close();
    else if ("themeSwitch" in dataset) switchTheme();
    else { event.preventDefault(); openDialog(target); }
  });

  // ---- filters that apply as soon as one is chosen; dates wait for both ----

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-submits]");
    if (!form || event.target.type === "date") return;
    if (event.target.name === "range") form.querySelectorAll("input[type=date]").forEach((input) => { input.value = ""; });
    form.requestSubmit();
  });

  // ---- figures that are asked for again and again: one that fails is left out, not complained about each time ----

  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.xhr.status >= 400 && detail.requestConfig.elt.matches("[data-quiet]")) detail.shouldSwap = false;
  });

  // ---- times in the reader's own zone ----

  const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  function localTimes(part) {
    for (const element of part.querySelectorAll("time[datetime]:not([title])")) {
      element.title = element.textContent;
      element.textContent = time.format(new Date(element.dateTime));
    }
  }

  // ---- what is sent while the page stands, and countdowns ----

  const away = (element, sentence) => {
    element.querySelector(":scope > .live-away")?.remove();
    if (!sentence) return;
    const banner = document.createElement("p");
    banner.className = "banner warn live-away";
    banner.setAttribute("role", "status");
    banner.textContent = sentence;
    element.prepend(banner);
  };

  function watchLive(element) {
    if (element.dataset.watched) return;
    element.dataset.watched = "yes";
    const source = new EventSource(element.dataset.live);
    source.addEventListener("piece", (event) => {
      // Somebody who has opened a dialog or typed in the piece keeps it as it is.
      if (element.querySelector("dialog[open]") || element.contains(document.activeElement)) return;
      element.innerHTML = event.data;
      localTimes(element);
      countDown();
    });
    source.addEventListener("away", (event) => away(element, event.data));
    addEventListener("pagehide", () => source.close());
  }

  function countDown() {
    for (const element of document.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.ceil((Number(element.dataset.until) - Date.now()) / 1000));
      const minutes = Math.floor(left / 60), hours = Math.floor(minutes / 60);
      element.textContent = hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min ${left % 60} s` : `${left} s`;
    }
  }
  setInterval(countDown, 1000);

  // ---- charts: drawn from the table that stands beside them ----

  const drawn = new Map();
  const units = {
    count: (value) => value.toLocaleString(),
    money: (value) => value.toLocaleString(undefined, { style: "currency", currency: "USD", maximumFractionDigits: 4 }),
  };

  function series(figure) {
    const heads = [...figure.querySelectorAll("thead th")].map((cell) => cell.textContent);
    const rows = [...figure.querySelectorAll("tbody tr")].map((row) => [...row.cells]);
    const columns = rows.length ? rows[0].map((_, index) => index).filter((index) => rows[0][index].dataset.value) : [];
    const unit = figure.dataset.unit === "money" ? 1e9 : 1;
    return {
      labels: rows.map((cells) => cells[0].textContent.trim()),
      names: columns.map((index) => heads[index]),
      values: columns.map((index) => rows.map((cells) => Number(cells[index].dataset.value) / unit)),
    };
  }

  const colours = (style, names) => names.map((_, index) =>
    index === 0 ? style.getPropertyValue("--accent").trim() : style.getPropertyValue(["--warn", "--muted", "--good", "--bad"][(index - 1) % 4]).trim());

  function options(figure, labels, names, width) {
    const style = getComputedStyle(root);
    const muted = style.getPropertyValue("--muted").trim(), line = style.getPropertyValue("--line").trim();
    const shades = colours(style, names), shown = units[figure.dataset.unit] || units.count;
    const bars = figure.dataset.chart === "bars" ? uPlot.paths.bars({ size: [0.55, 56], radius: 0.12 }) : undefined;
    const room = Math.max(72, 8 * Math.max(...labels.map((label) => label.length))), every = Math.ceil(labels.length / ((width - 64) / room));
    const font = "12px " + style.getPropertyValue("--sans");
    return {
      width, height: figure.querySelector(".canvas").clientHeight - (names.length > 1 ? 28 : 0),
      padding: [12, 8, 0, 0],
      legend: { show: names.length > 1, live: false },
      cursor: { y: false, points: { show: !bars } },
      scales: { x: { time: false, range: (_, low, high) => [low - 0.6, high + 0.6] }, y: { range: (_, __, high) => [0, (high || 1) * 1.08] } },
      axes: [
        { stroke: muted, font, grid: { show: false }, ticks: { show: false }, splits: () => labels.map((_, index) => index), values: (_, at) => at.map((index) => (index % every === 0 ? labels[index] : "")) },
        { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 64, incrs: figure.dataset.unit === "money" ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7], values: (_, at) => at.map(shown) },
      ],
      series: [{}, ...names.map((label, index) => ({ label, stroke: shades[index], fill: bars ? shades[index] : undefined, width: bars ? 0 : 2, paths: bars, points: { show: false } }))],
    };
  }

  function drawChart(figure) {
    const canvas = figure.querySelector(".canvas"), table = figure.querySelector("details");
    const { labels, names, values } = series(figure);
    if (!labels.length || !names.length) return;
    if (!drawn.has(figure)) table.open = false;
    drawn.get(figure)?.destroy();
    canvas.hidden = false;
    drawn.set(figure, new uPlot(options(figure, labels, names, canvas.clientWidth), [labels.map((_, index) => index), ...values], canvas));
  }

  function drawCharts() {
    for (const figure of drawn.keys()) if (!figure.isConnected) { drawn.get(figure).destroy(); drawn.delete(figure); }
    if (window.uPlot) document.querySelectorAll("figure.chart").forEach(drawChart);
  }

  // ---- when the page, or a piece that htmx brought, is there ----

  function enhance(part) {
    part.querySelectorAll("[data-theme-switch]").forEach((button) => { button.hidden = false; });
    localTimes(part);
    part.querySelectorAll("[data-live]").forEach(watchLive);
    countDown();
    drawCharts();
  }

  document.addEventListener("DOMContentLoaded", () => enhance(document));
  document.addEventListener("htmx:afterSettle", (event) => enhance(event.target));
  dark.addEventListener("change", drawCharts);
  let resizing;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(drawCharts, 120); });
})();
