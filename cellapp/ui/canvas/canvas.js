// The canvas itself: its state, its history, its bars, and what passes between it and Python.
const STATES = new Map();                // by the component's key: outlives every re-render
const WAIT = 250;                        // ms from the last change to its being sent
const MOST_STEPS = 200;
const FINGERS = matchMedia("(pointer: coarse)");

const fresh = () => ({shapes: [], selected: [], undo: [], redo: [], view: null, tool: null, rev: null, url: null,
                      image: null, failed: false, draft: null, grab: null, pointers: new Map(), gesture: null,
                      hand: null, pinch: null, hover: null, cursor: null, space: false, timer: null, levels: null,
                      dots: [], label: 1, chosen: -1, near: -1, press: null, hidden: false, look: 0, map: null,
                      help: false, doc: null});

// A text set anew makes the browser lay the page out again, even an equal one.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

class Canvas {
  constructor(component, state) {
    this.data = component.data;
    this.root = component.parentElement.querySelector(".wrap");
    this.canvas = this.root.querySelector(".stage canvas");
    this.s = state;
    state.owner = this;
    state.send = (value, name = "drawn") => component.setStateValue(name, value);
    this.takeOver();
    if (this.data.editor) this.takeOverDots();
  }
  get tool() { return TOOLS[this.s.tool]; }
  // The tool for a press at this point: the corners of the selected shape can be dragged with every tool in hand.
  toolAt(point, e) { return !this.s.draft && TOOLS.select.handleAt(this, point, e) >= 0 ? TOOLS.select : this.tool; }

  // What Python sends: another revision replaces the shapes, another picture the view.
  takeOver() {
    const {data, s} = this;
    if (!data.tools.includes(s.tool)) s.tool = data.first;
    const same = data.url === s.url;
    if (!same || !s.view || s.view.h !== data.height || s.view.w !== data.width) {
      Object.assign(s, {view: new View(data.height, data.width), url: data.url, image: null, failed: false,
                        undo: [], redo: [], draft: null, cursor: null});
      const image = new Image();
      const done = failed => {
        if (s.url !== data.url) return;
        Object.assign(s, failed ? {failed: true} : {image, levels: halvesOf(image)});
        s.show?.();
      };
      image.onload = () => done(false);
      image.onerror = () => done(true);
      image.src = data.url;
    }
    if (data.rev !== s.rev && !data.editor) {
      if (s.rev !== null && same) this.remember();
      Object.assign(s, {rev: data.rev, shapes: data.shapes, selected: [], draft: null, grab: null});
      clearTimeout(s.timer);
      s.timer = null;
    }
  }

  // Steps that can be undone.
  remember() {
    const {s} = this;
    s.undo = [...s.undo.slice(1 - MOST_STEPS), {shapes: s.shapes, dots: s.dots}];
    s.redo = [];
  }
  change(shapes) { this.remember(); this.s.shapes = shapes; this.push(); }
  add(shape) {
    const {s} = this, kept = shape.kind === "line" ? s.shapes.filter(q => q.kind !== "line") : s.shapes;
    const name = shape.kind === "line" ? "" : this.freeName(this.data.word);
    this.change([...kept, {...shape, name}]);
    this.select([s.shapes.length - 1]);
  }
  remove() {
    const {s} = this;
    if (s.draft) { this.cancel(); return; }
    if (!s.selected.length) {
      if (this.data.editor) this.removeDot(s.chosen >= 0 ? s.chosen : s.near);
      return;
    }
    this.change(s.shapes.filter((_, i) => !s.selected.includes(i)));
    this.select([]);
  }
  undo() { this.step(this.s.undo, this.s.redo); }
  redo() { this.step(this.s.redo, this.s.undo); }
  step(from, to) {
    const {s} = this;
    if (s.draft) { this.cancel(); return; }
    if (!from.length) return;
    to.push({shapes: s.shapes, dots: s.dots});
    Object.assign(s, from.pop(), {chosen: -1, near: -1});
    this.select([]);
    this.push();
  }
  // Names differ: tables tell regions apart by them.
  freeName(word, n = 1) {
    const taken = new Set(this.s.shapes.map(shape => shape.name));
    for (; ; n++) if (!taken.has(`${word} ${n}`)) return `${word} ${n}`;
  }
  rename(text) {
    const {s} = this, [i] = s.selected;
    let name = text.trim();
    if (s.selected.length !== 1 || !name || s.shapes[i].name === name) return;
    if (s.shapes.some(shape => shape.name === name)) name = this.freeName(name, 2);
    this.change(s.shapes.map((shape, j) => j === i ? {...shape, name} : shape));
  }
  select(which) { this.s.selected = which; }
  freeArrows() { if (this.s.selected.length) this.s.cursor = null; }  // they move what is selected, not the cross
  // The selected shapes moved, as far as the image reaches.
  shifted(shapes, dy, dx) {
    const {s} = this, {h, w} = s.view;
    const [t, l, b, r] = boundsOf(s.selected.flatMap(i => shapes[i].points));
    const within = (d, low, high) => low > high ? d : Math.max(Math.min(low, 0), Math.min(Math.max(high, 0), d));
    dy = within(dy, -.5 - t, h - .5 - b);
    dx = within(dx, -.5 - l, w - .5 - r);
    return shapes.map((shape, i) => s.selected.includes(i) ? shift(shape, dy, dx) : shape);
  }

  // To Python, a moment after the last change.
  push() {
    if (this.data.editor) { this.s.doc.change(this.contentNow()); return; }
    clearTimeout(this.s.timer);
    this.s.timer = setTimeout(() => this.flush(), WAIT);
  }
  flush() {
    const {s} = this;
    if (this.data.editor) { s.doc?.save(); return; }
    if (s.timer === null) return;
    clearTimeout(s.timer);
    s.timer = null;
    s.send({rev: s.rev, shapes: s.shapes});
  }

  // Looking and choosing.
  reach(px) { return px / this.s.view.k; }
  pan(dx, dy) { this.s.view.pan(dx, dy); }
  zoom(factor) { this.s.view.zoom(factor, {x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2}); }
  fit() { this.s.view.fitted = true; }
  cancel() { if (!this.tool.cancel?.(this)) { this.select([]); this.s.cursor = null; } }
  setTool(name) {
    if (this.s.draft || this.s.grab) this.tool.cancel?.(this);
    Object.assign(this.s, {tool: name, chosen: -1, near: -1});
    if (name !== "select") this.select([]);
    else this.freeArrows();
  }
  show() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; paint(this); this.tell(); });
  }
  // The bars.
  tell() {
    const {s, root, data} = this, find = name => root.querySelector(name), v = s.view;
    const [y, x] = s.hover || [NaN, NaN], one = s.selected.length === 1 ? s.shapes[s.selected[0]] : null;
    put(find(".where"), v.inside([y, x]) ? `x ${Math.round(x)}, y ${Math.round(y)}` : "");
    put(find(".zoom"), `${Math.round(v.k * 100)} %`);
    const shown = s.draft || one;
    put(find(".size"), shown ? measured(shown, data.um)
      : s.selected.length > 1 ? `${s.selected.length} shapes selected` : "");
    put(find(".hint"), one || s.selected.length > 1 ? "" : (FINGERS.matches && this.tool.fingers) || this.tool.hint);
    find(".message").hidden = !s.failed;
    const naming = find(".naming"), input = naming.querySelector("input");
    naming.hidden = !one || one.kind === "line";
    if (!naming.hidden && input.getRootNode().activeElement !== input) input.value = one.name;
    for (const b of root.querySelectorAll("button[data-tool]")) b.setAttribute("aria-pressed", b.dataset.tool === s.tool);
    const off = {undo: !s.undo.length && !s.draft, redo: !s.redo.length, remove: !s.selected.length};
    for (const [name, disabled] of Object.entries(off)) find(`[data-do=${name}]`).disabled = disabled;
    find("[data-do=enter]").hidden = !(s.draft && s.draft.placed >= 3);
    find("[data-do=cancel]").hidden = !s.draft;
    if (data.editor) tellEditor(this);
    this.canvas.style.cursor = s.space || s.gesture === "pan" ? "grab" : this.tool.cursor;
  }
}

Object.defineProperties(Canvas.prototype, Object.getOwnPropertyDescriptors(editing));

const ACTIONS = {
  enter: ["Close", "Enter", "M5 12l5 5 9-11", c => c.tool.enter?.(c)],
  cancel: ["Cancel", "Esc", "M6 6l12 12M18 6L6 18", c => c.cancel()],
  undo: ["Undo", "Ctrl+Z", "M9 5L4 10l5 5M4 10h10a6 6 0 010 12h-3", c => c.undo()],
  redo: ["Redo", "Ctrl+Shift+Z", "M15 5l5 5-5 5M20 10H10a6 6 0 000 12h3", c => c.redo()],
  remove: ["Delete", "Del", "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13", c => c.remove()],
  in: ["Zoom in", "+", "M12 5v14M5 12h14", c => c.zoom(1.25), true],
  out: ["Zoom out", "−", "M5 12h14", c => c.zoom(.8), true],
  fit: ["Fit", "F", "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5", c => c.fit()],
};

function toolbar(c) {
  const bar = c.root.querySelector(".tools"), {s} = c;
  const built = JSON.stringify([c.data.tools, c.data.words]);
  if (bar.dataset.built === built) return;                   // a button replaced while it is pressed would lose its click
  bar.dataset.built = built;
  bar.replaceChildren();
  const button = (label, key, icon, run, bare, marks) => {
    const b = document.createElement("button");
    b.type = "button";
    b.className = "icon";
    b.title = `${label} (${key})`;
    b.setAttribute("aria-label", label);
    b.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${icon}"/></svg>${bare ? "" : "<span></span>"}`;
    if (!bare) b.querySelector("span").textContent = label;
    Object.assign(b.dataset, marks);
    b.addEventListener("click", () => { run(s.owner); s.owner.show(); });
    bar.append(b);
  };
  for (const name of c.data.tools) {
    const t = TOOLS[name];
    button(c.data.words?.[name] || t.label, t.key, t.icon, now => now.setTool(name), false, {tool: name});
  }
  bar.append(Object.assign(document.createElement("span"), {className: "gap"}));
  const actions = {...ACTIONS, ...(c.data.editor ? EDITOR_ACTIONS : {})};
  for (const [name, [label, key, icon, run, bare]] of Object.entries(actions))
    button(label, key, icon, run, bare || (c.data.editor && BARE.has(name)), {do: name});
}

export default function (component) {
  const key = component.key ?? component.data.key;
  if (!STATES.has(key)) STATES.set(key, fresh());
  // Streamlit calls this again when the data change, without having ended what it called before.
  STATES.get(key).end?.();
  const c = new Canvas(component, STATES.get(key)), over = new AbortController();
  const listen = (on, what, run, options = {}) => on.addEventListener(what, run, {...options, signal: over.signal});
  c.s.show = () => c.show();
  c.canvas.style.height = `min(${c.data.px}px, 65vh)`;
  c.canvas.setAttribute("aria-label", c.data.label);
  c.root.querySelector(".message").textContent = "The picture could not be loaded; reload the page.";
  toolbar(c);
  if (c.data.editor) editorBars(c);
  pointers(c, listen);
  keys(c, listen);
  const input = c.root.querySelector(".naming input");
  listen(input, "change", () => { c.rename(input.value); c.show(); });
  listen(input, "keydown", e => { if (e.key === "Enter" || e.key === "Escape") c.canvas.focus(); });
  const sizes = new ResizeObserver(() => c.show());
  sizes.observe(c.canvas);
  c.show();
  c.s.end = () => { over.abort(); sizes.disconnect(); };
  const {end} = c.s;
  return () => {
    end();
    c.flush();
    if (c.s.owner === c) c.s.send = () => {};                // the page has gone, its dots may still be on their way
  };
}
