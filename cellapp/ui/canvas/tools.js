// The tools, by name. A tool is an object of which the canvas calls, as far as they are there:
//   down, move, up (c, point, {moved, touch, shift, alt, erase})   of a pointer, or of the keyboard's cross
//   enter (c), cancel (c)                                   keys and buttons; cancel says whether it had something to do
//   draw (c, g)                                             painted above the shapes
// and reads: label, key, icon (an SVG path), hint (fingers: on a touch screen), cursor; erases: whether it wants the
// right button. `c` is the `Canvas`: c.s is its state, c.add and c.change make a step that can be undone, c.reach gives a distance in pixels of the image for one in CSS pixels.
const TOOLS = {};

TOOLS.select = {
  label: "Select", key: "V", cursor: "default", icon: "M5 3l14 8-6 1.5L10 19z",
  hint: "Click a shape to select it, drag to move it, drag its corners; drag the ground to pan.",
  handleAt(c, p, e) {                    // the corner of the one selected shape under the pointer, or -1
    const {s} = c;
    if (s.selected.length !== 1) return -1;
    const d = s.shapes[s.selected[0]].points.map(q => Math.hypot(q[0] - p[0], q[1] - p[1]));
    const least = Math.min(...d);
    return least <= c.reach(e.touch ? 22 : 9) ? d.indexOf(least) : -1;
  },
  down(c, p, e) {
    const {s} = c, handle = this.handleAt(c, p, e);
    s.grab = {from: p, before: s.shapes};
    if (handle >= 0) { s.grab.handle = handle; return; }
    let hit = -1;                        // the smallest of those under the pointer, so that none is out of reach
    s.shapes.forEach((shape, i) => {
      if (touches(shape, p, c.reach(e.touch ? 14 : 6)) &&
          (hit < 0 || areaOf(shape.points) <= areaOf(s.shapes[hit].points))) hit = i;
    });
    if (hit < 0) { s.grab = {ground: true}; return; }
    if (e.shift) c.select(s.selected.includes(hit) ? s.selected.filter(i => i !== hit) : [...s.selected, hit]);
    else if (!s.selected.includes(hit)) c.select([hit]);
  },
  move(c, p, e) {
    const {s} = c, {grab} = s;
    if (!grab || !e.moved) return;
    if (grab.ground) { c.pan(e.dx, e.dy); return; }
    if (grab.handle !== undefined)
      s.shapes = grab.before.map((q, i) => i === s.selected[0] ? withHandle(q, grab.handle, c.s.view.clamp(p)) : q);
    else s.shapes = c.shifted(grab.before, p[0] - grab.from[0], p[1] - grab.from[1]);
  },
  up(c, p, e) {
    const {s} = c, {grab} = s;
    s.grab = null;
    if (!grab) return;
    if (grab.ground) { if (!e.moved) c.select([]); return; }
    if (s.shapes !== grab.before) { const now = s.shapes; s.shapes = grab.before; c.change(now); }
  },
  cancel(c) {
    const {s} = c, busy = s.grab || s.selected.length;
    if (s.grab && s.grab.before) s.shapes = s.grab.before;
    s.grab = null;
    c.select([]);
    return Boolean(busy);
  },
};

// A tool of two points: pressed and dragged, or clicked one after the other.
const twoPoints = (kind, about, make) => ({
  ...about, cursor: "crosshair",
  down(c, p) {
    const {s} = c;
    p = s.view.clamp(p);
    if (!s.draft) s.draft = {kind, name: "", points: make(p, p), from: p, clicks: 0};
    else s.draft.points = make(s.draft.from, p);
  },
  move(c, p) { if (c.s.draft) c.s.draft.points = make(c.s.draft.from, c.s.view.clamp(p)); },
  up(c, p, e) {
    const {draft} = c.s;
    if (!draft) return;
    draft.clicks += 1;
    if (!e.moved && draft.clicks < 2) return;
    const [t, l, b, r] = boundsOf(draft.points), least = Math.max(1, c.reach(3));
    const enough = kind === "line" ? Math.hypot(b - t, r - l) >= least : b - t >= 1 && r - l >= 1;
    c.s.draft = null;
    if (enough) c.add({kind, name: draft.name, points: rounded(draft.points)});
  },
  cancel(c) { const busy = c.s.draft; c.s.draft = null; return Boolean(busy); },
});

TOOLS.line = twoPoints("line", {
  label: "Line", key: "L", icon: "M5 19L19 5M3 17l4 4M17 3l4 4", hint: "Drag a line across one typical cell.",
}, (a, b) => [a, b]);

TOOLS.box = twoPoints("box", {
  label: "Box", key: "B", icon: "M4 5h16v14H4z", hint: "Drag from corner to corner, or click both.",
}, boxOf);

TOOLS.polygon = {
  label: "Polygon", key: "P", cursor: "crosshair", icon: "M4 9l8-5 8 6-3 10H8z",
  hint: "Click the corners; double-click, Enter or the first corner closes it; Esc gives it up.",
  move(c, p) {
    const {draft} = c.s;
    if (draft) draft.points = [...draft.points.slice(0, draft.placed), c.s.view.clamp(p)];
  },
  up(c, p, e) {
    const {s} = c;
    p = s.view.clamp(p);
    if (!s.draft) { s.draft = {kind: "polygon", name: "", points: [p], placed: 1}; return; }
    const placed = s.draft.points.slice(0, s.draft.placed), reach = c.reach(e.touch ? 18 : 8);
    const near = q => Math.hypot(q[0] - p[0], q[1] - p[1]) <= reach;
    if (placed.length >= 3 && (near(placed[0]) || near(placed.at(-1)))) { this.enter(c); return; }
    if (near(placed.at(-1))) return;     // the second click of a double click that closes nothing yet
    s.draft.points = [...placed, p];
    s.draft.placed += 1;
  },
  enter(c) {
    const {s} = c;
    if (!s.draft || s.draft.placed < 3) return;
    const points = rounded(s.draft.points.slice(0, s.draft.placed));
    s.draft = null;
    c.add({kind: "polygon", name: "", points});
  },
  cancel(c) { const busy = c.s.draft; c.s.draft = null; return Boolean(busy); },
};
