// Fits the frames to the window, zooms, searches, walks by keys, and keeps zoom and search in the URL's fragment.
(() => {
  "use strict";
  const svg = document.documentElement, byId = (id) => document.getElementById(id);
  const sizes = byId("frames").dataset, side = Number(sizes.side), letter = Number(sizes.letter);
  const narrowest = Number(sizes.narrowest), height = Number(sizes.height);
  const details = byId("details"), hint = details.textContent, found = byId("found");
  const field = byId("search"), withCase = byId("case"), withRegex = byId("regex");

  // Frames are in the order of a walk from the root, callers first.
  const path = [];
  const frames = [...document.querySelectorAll(".f")].map((element) => {
    const { n: name, d, s, w } = element.dataset;
    const frame = { element, name, depth: Number(d), start: Number(s), width: Number(w), children: [] };
    frame.box = element.querySelector("rect");
    frame.label = element.querySelector("text");
    frame.about = element.querySelector("title").textContent;
    frame.caller = path[frame.depth - 1] ?? null;
    frame.caller?.children.unshift(frame);
    path[frame.depth] = frame;
    return frame;
  });
  if (!frames.length) return;
  const root = frames[0];
  let zoomed = root, chosen = null, written = "";

  const fit = (text, width, advance = letter) => {
    const room = Math.floor((width - 6) / advance);
    return text.length <= room ? text : room >= 4 ? text.slice(0, room - 1) + "\u2026" : "";
  };

  const isIn = (inner, outer) => {
    const rest = outer.width * 1e-6;
    return inner.start >= outer.start - rest && inner.start + inner.width <= outer.start + outer.width + rest;
  };

  const layout = () => {
    const whole = Math.max(narrowest, window.innerWidth), pixels = whole - 2 * side;
    svg.setAttribute("width", whole);
    svg.setAttribute("viewBox", `0 0 ${whole} ${height}`);
    document.querySelectorAll("[data-whole]").forEach((element) => element.setAttribute("width", whole));
    document.querySelectorAll("[data-text]").forEach((element) => {
      element.textContent = fit(element.dataset.text, pixels, Number(element.dataset.advance));
    });
    for (const frame of frames) {
      const isAbove = frame.depth < zoomed.depth && isIn(zoomed, frame);
      const isShown = isAbove || (frame.depth >= zoomed.depth && isIn(frame, zoomed));
      frame.element.classList.toggle("x", !isShown);
      frame.element.classList.toggle("p", isAbove);
      if (!isShown) continue;
      const x = isAbove ? side : side + (frame.start - zoomed.start) / zoomed.width * pixels;
      const width = isAbove ? pixels : frame.width / zoomed.width * pixels;
      frame.box.setAttribute("x", x);
      frame.box.setAttribute("width", width > 2 ? width - 0.5 : width);
      frame.label.setAttribute("x", x + 3);
      frame.label.textContent = fit(frame.name, width);
    }
    byId("reset").hidden = zoomed === root;
  };

  // The wanted names as an expression; null: none is wanted. Throws SyntaxError.
  const expression = () => {
    if (field.value === "") return null;
    const source = withRegex.checked ? field.value : field.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return new RegExp(source, withCase.checked ? "u" : "iu");
  };

  // The part of the sum that these frames have together: what is in two of them counts once.
  const share = (some) => {
    let sum = 0, end = 0;
    for (const { start, width } of [...some].sort((one, other) => one.start - other.start)) {
      sum += Math.max(0, start + width - Math.max(end, start));
      end = Math.max(end, start + width);
    }
    return sum;
  };

  const mark = () => {
    let wanted = null, trouble = "";
    try { wanted = expression(); } catch (error) { trouble = error.message; }
    const marked = wanted ? frames.filter((frame) => wanted.test(frame.name)) : [];
    for (const frame of frames) frame.element.classList.remove("m");
    for (const frame of marked) frame.element.classList.add("m");
    const number = `${marked.length} frame${marked.length === 1 ? "" : "s"}`;
    found.textContent = trouble || (wanted ? `${(100 * share(marked)).toFixed(1)}% in ${number}` : "");
    found.className = trouble ? "wrong" : "";
  };

  // A permalink names the zoomed frame by its path, so that it also serves for a later picture of the same functions.
  const write = () => {
    const parts = [], names = [];
    for (let frame = zoomed; frame !== root; frame = frame.caller) names.unshift(encodeURIComponent(frame.name));
    if (names.length) parts.push(`zoom=${names.join(";")}`);
    if (field.value) parts.push(`search=${encodeURIComponent(field.value)}`);
    if (withCase.checked) parts.push("case=1");
    if (withRegex.checked) parts.push("regex=1");
    written = parts.length ? `#${parts.join("&")}` : "";
    if (window.parent === window && location.hash !== written) location.replace(written || "#");
  };

  const decode = (text) => { try { return decodeURIComponent(text); } catch { return ""; } };

  // As far as the path leads in this picture.
  const follow = (names) => names.reduce(
    (frame, name) => frame && (frame.children.find((child) => child.name === name) ?? null), root) ?? root;

  const read = () => {
    const given = new Map(location.hash.slice(1).split("&").map((part) => {
      const at = part.indexOf("=");
      return at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
    }));
    zoomed = given.get("zoom") ? follow(given.get("zoom").split(";").map(decode)) : root;
    field.value = decode(given.get("search") ?? "");
    withCase.checked = given.get("case") === "1";
    withRegex.checked = given.get("regex") === "1";
    layout();
    mark();
  };

  const zoom = (frame) => { zoomed = frame; layout(); write(); };
  const find = () => { mark(); write(); };
  const tell = (frame) => { details.textContent = frame ? frame.about : hint; };

  const choose = (frame) => {
    if (!frame || frame.element.classList.contains("x")) return;
    chosen?.element.classList.remove("k");
    chosen = frame;
    frame.element.classList.add("k");
    tell(frame);
    const top = frame.box.getBoundingClientRect(), under = byId("head").getBoundingClientRect().height;
    if (top.top < under || top.bottom > window.innerHeight) window.scrollBy(0, top.top - window.innerHeight / 2);
  };

  const beside = (frame, by) => {
    const all = frame.caller ? frame.caller.children : [frame];
    return all[all.indexOf(frame) + by];
  };
  const widest = (frame) => frame.children.reduce((most, child) => (most && most.width >= child.width ? most : child), null);
  const steps = {
    ArrowUp: () => choose(chosen?.caller ?? zoomed),
    ArrowDown: () => choose(chosen ? widest(chosen) : zoomed),
    ArrowLeft: () => choose(chosen ? beside(chosen, -1) : zoomed),
    ArrowRight: () => choose(chosen ? beside(chosen, 1) : zoomed),
    Enter: () => chosen && zoom(chosen),
    Escape: () => zoom(root),
    "/": () => field.focus(),
  };

  window.addEventListener("keydown", (event) => {
    const isSearch = (event.ctrlKey || event.metaKey) && event.key === "f";
    if (document.activeElement === field && !isSearch) {
      if (event.key === "Enter" || event.key === "Escape") field.blur();
      return;
    }
    const step = isSearch ? steps["/"] : event.ctrlKey || event.metaKey || event.altKey ? null : steps[event.key];
    if (!step || (event.key === "Enter" && document.activeElement?.matches("button, input"))) return;
    event.preventDefault();
    step();
  });
  for (const frame of frames) {
    frame.element.addEventListener("click", () => { choose(frame); zoom(frame); });
    frame.element.addEventListener("mouseenter", () => tell(frame));
    frame.element.addEventListener("mouseleave", () => tell(chosen));
  }
  field.addEventListener("input", find);
  withCase.addEventListener("change", find);
  withRegex.addEventListener("change", find);
  byId("reset").addEventListener("click", () => zoom(root));
  window.addEventListener("resize", layout);
  window.addEventListener("scroll", () => byId("head").setAttribute("transform", `translate(0 ${window.scrollY})`));
  window.addEventListener("hashchange", () => { if (location.hash !== written) read(); });
  byId("tools").classList.remove("x");
  read();
})();
