// The tool that sets, moves and deletes dots.
const HOLD = 450;                        // ms of a finger on a dot that delete it

function dotAt(c, p, touch) {
  const {s} = c;
  if (s.hidden) return -1;
  let best = -1, least = c.reach(touch ? 20 : 9) ** 2;
  s.dots.forEach(([y, x], i) => {
    const d = (y - p[0]) ** 2 + (x - p[1]) ** 2;
    if (d <= least) { least = d; best = i; }
  });
  return best;
}

TOOLS.dot = {
  label: "Dot", key: "O", cursor: "crosshair", icon: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3",
  hint: "Click a cell to dot it, drag a dot to move it, Alt-click or right-click to delete it; drag the ground to pan.",
  fingers: "Tap a cell to dot it, drag a dot to move it, hold it to delete it; two fingers pan and zoom.",
  erases: true,                          // wants the right button too
  down(c, p, e) {
    const {s} = c;
    if (!s.doc.content) return;
    s.hidden = false;
    const hit = dotAt(c, p, e.touch);
    s.chosen = hit;
    if (e.erase) { c.removeDot(hit); s.press = {done: true}; return; }
    s.press = {hit, before: s.dots, touch: e.touch};
    if (e.touch && hit >= 0) s.press.timer = setTimeout(() => this.hold(c), HOLD);
  },
  hold(c) {                              // of a finger; some browsers tell it themselves, and then take the finger away
    const {s} = c, {press} = s;
    if (!press?.touch || press.done || press.hit < 0 || s.dots !== press.before) return;
    clearTimeout(press.timer);
    s.press = {done: true};
    c.removeDot(press.hit);
    navigator.vibrate?.(15);
    c.show();
  },
  move(c, p, e) {
    const {s} = c, {press} = s;
    if (!press) { s.near = dotAt(c, p); return; }
    if (press.done || !e.moved) return;
    clearTimeout(press.timer);
    if (press.hit < 0) { c.pan(e.dx, e.dy); return; }
    const [[y, x]] = rounded([s.view.within(p)]);
    s.dots = press.before.slice();
    s.dots[press.hit] = [y, x, press.before[press.hit][2]];
  },
  up(c, p, e) {
    const {s} = c, {press} = s;
    s.press = null;
    if (!press || press.done) return;
    clearTimeout(press.timer);
    if (press.hit >= 0) {
      if (s.dots !== press.before) { const now = s.dots; s.dots = press.before; c.changeDots(now); }
    } else if (!e.moved && s.view.inside(p)) {
      c.changeDots([...s.dots, [...rounded([s.view.within(p)])[0], s.label]]);
      s.near = e.touch ? -1 : s.dots.length - 1;
    }
    if (press.touch) s.chosen = press.hit;
  },
  cancel(c) {
    const {s} = c, {press} = s, busy = press || s.chosen >= 0;
    if (press) { clearTimeout(press.timer); if (press.before) s.dots = press.before; }
    s.press = null;
    s.chosen = -1;
    return Boolean(busy);
  },
};
