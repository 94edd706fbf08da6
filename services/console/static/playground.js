// The playground: asks the API from the browser, with the person's own key, and shows the answer as it streams.
"use strict";

(() => {
  const form = document.getElementById("playground");
  if (!form) return;
  const part = (name) => document.getElementById(`play-${name}`);
  const number = (value) => value.toLocaleString();
  const turns = [];
  let running;

  function turn(who, text, look) {
    if (!turns.length && !running) part("talk").replaceChildren();
    const element = document.createElement("div");
    element.className = `turn ${look}`;
    element.dataset.who = who;
    element.textContent = text;
    part("talk").append(element);
    element.scrollIntoView({ block: "nearest" });
    return element;
  }

  function facts(said) {
    part("facts").replaceChildren(...said.filter(([, value]) => value).map(([name, value, link]) => {
      const entry = document.createElement("div"), term = document.createElement("dt"), about = document.createElement("dd");
      term.textContent = name;
      if (link) {
        const anchor = document.createElement("a");
        anchor.href = link;
        anchor.textContent = value;
        about.append(anchor);
      } else about.textContent = value;
      entry.append(term, about);
      return entry;
    }));
    part("facts").hidden = false;
  }

  function busy(yes) {
    part("send").disabled = yes;
    part("stop").hidden = !yes;
    part("clear").hidden = yes || !turns.length;
  }

  // Events of a stream: blocks of lines with an empty line between them (https://html.spec.whatwg.org, 9.2.6).
  async function* events(body) {
    let rest = "";
    for await (const piece of pieces(body.pipeThrough(new TextDecoderStream()))) {
      const blocks = (rest + piece).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  }

  async function* pieces(stream) { // Safari's streams cannot be iterated over
    const reader = stream.getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  }

  function asked() {
    const system = part("system").value.trim();
    return {
      model: part("model").value,
      max_tokens: Number(part("most").value),
      stream: true,
      messages: turns,
      ...(system ? { system } : {}),
    };
  }

  async function answer(response, element, began) {
    const usage = {};
    let first = 0, text = "", stopped = "";
    const update = () => facts([
      ["First token", first ? `${number(first)} ms` : ""],
      ["Took", `${number(Math.round(performance.now() - began))} ms`],
      ["Input tokens", number((usage.input_tokens || 0) + (usage.cache_read_input_tokens || 0) + (usage.cache_creation_input_tokens || 0))],
      ["Output tokens", number(usage.output_tokens || 0)],
      ["Ended by", stopped],
      ["Bill", response.headers.get("x-request-id") ? "open" : "", `/dashboard/usage/${encodeURIComponent(response.headers.get("x-request-id"))}`],
    ]);
    try {
      for await (const event of events(response.body)) {
        if (event.type === "error") throw new Error(event.error.message);
        Object.assign(usage, event.message?.usage, event.usage);
        stopped = event.delta?.stop_reason || stopped;
        if (event.delta?.type !== "text_delta") continue;
        first ||= Math.round(performance.now() - began);
        text += event.delta.text;
        element.textContent = text;
        element.scrollIntoView({ block: "nearest" });
      }
    } finally {
      update();
      if (text) turns.push({ role: "assistant", content: text });
    }
  }

  async function refusal(response) {
    const said = await response.text();
    try {
      return JSON.parse(said).error.message;
    } catch {
      return said || `The API answered ${response.status}.`;
    }
  }

  async function send(event) {
    event.preventDefault();
    if (running) return;
    const message = part("message").value.trim();
    turn("You", message, "asked");
    running = new AbortController();
    turns.push({ role: "user", content: message });
    busy(true);
    const element = turn(part("model").value, "", "running"), began = performance.now();
    const fail = (why) => { element.className = "turn failed"; element.textContent = element.textContent ? `${element.textContent}\n\n${why}` : why; };
    try {
      const response = await fetch(`${form.dataset.api}/messages`, {
        method: "POST",
        signal: running.signal,
        headers: { "content-type": "application/json", "x-api-key": part("key").value.trim(), "anthropic-version": "2023-06-01" },
        body: JSON.stringify(asked()),
      });
      if (response.ok) await answer(response, element, began);
      else fail(await refusal(response));
      if (response.ok) part("message").value = "";
    } catch (error) {
      if (error.name !== "AbortError") fail(error instanceof TypeError ? "The API could not be reached from this page." : error.message);
    } finally {
      element.classList.remove("running");
      running = undefined;
      if (turns.at(-1)?.role === "user") turns.pop();
      busy(false);
    }
  }

  form.addEventListener("submit", send);
  part("stop").addEventListener("click", () => running?.abort());
  part("clear").addEventListener("click", () => {
    turns.length = 0;
    part("talk").replaceChildren();
    part("facts").hidden = true;
    busy(false);
  });
  part("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) form.requestSubmit();
  });
})();
