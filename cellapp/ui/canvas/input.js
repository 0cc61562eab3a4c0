// Pointers, wheel and keys, turned into calls of the tool in hand.
const STILL = 4;                         // CSS px a pointer may tremble in a click

function pointers(c, listen) {
  const {canvas, s} = c;
  const at = e => { const r = canvas.getBoundingClientRect(); return {x: e.clientX - r.left, y: e.clientY - r.top}; };
  const about = (e, from) => {
    const last = from.last;
    from.last = at(e);
    const still = e.pointerType === "touch" ? 2.5 * STILL : STILL;
    from.moved ||= Math.hypot(from.last.x - from.first.x, from.last.y - from.first.y) > still;
    return {moved: from.moved, touch: e.pointerType === "touch", shift: e.shiftKey, alt: e.altKey,
            dx: from.last.x - last.x, dy: from.last.y - last.y};
  };
  const pinch = () => {
    const [a, b] = [...s.pointers.values()].map(p => p.last);
    return {x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, d: Math.hypot(a.x - b.x, a.y - b.y) || 1};
  };

  listen(canvas, "pointerdown", e => {
    if (e.button > 2 || (e.button === 2 && !c.tool.erases)) return;
    canvas.focus({preventScroll: true});
    canvas.setPointerCapture(e.pointerId);
    s.cursor = null;
    const here = at(e), pan = e.button === 1 || s.space;
    if (s.space) s.space = "used";
    s.pointers.set(e.pointerId, {first: here, last: here, moved: false, pan});
    if (s.pointers.size === 1) {
      s.gesture = pan ? "pan" : "tool";
      const what = {moved: false, touch: e.pointerType === "touch", shift: e.shiftKey, alt: e.altKey, dx: 0, dy: 0,
                    erase: e.button === 2 || e.altKey || (e.ctrlKey && e.button === 0)};
      if (!pan) (s.hand = c.toolAt(s.view.point(here), what)).down?.(c, s.view.point(here), what);
    } else if (s.pointers.size === 2) {
      // A second finger means zoom: what the first began is taken back, but for the corners of a polygon.
      if (s.gesture === "tool" && !(s.draft && s.draft.placed)) s.hand.cancel?.(c);
      s.gesture = "pinch";
      s.pinch = pinch();
    }
    e.preventDefault();
    c.show();
  });
  listen(canvas, "pointermove", e => {
    const from = s.pointers.get(e.pointerId), point = s.view.point(at(e));
    s.hover = point;
    if (!from) c.tool.move?.(c, point, {moved: false});
    else {
      const what = about(e, from);
      if (s.gesture === "pan") c.pan(what.dx, what.dy);
      else if (s.gesture === "tool") s.hand.move?.(c, point, what);
      else if (s.pointers.size === 2) {
        const now = pinch();
        s.view.zoom(now.d / s.pinch.d, s.pinch);
        s.view.pan(now.x - s.pinch.x, now.y - s.pinch.y);
        s.pinch = now;
      }
    }
    c.show();
  });
  listen(canvas, "pointerup", e => {
    const from = s.pointers.get(e.pointerId);
    if (!from) return;
    const what = about(e, from);
    s.pointers.delete(e.pointerId);
    if (s.gesture === "tool") s.hand.up?.(c, s.view.point(at(e)), what);
    if (!s.pointers.size) s.gesture = null;
    c.show();
  });
  listen(canvas, "pointercancel", e => {
    if (!s.pointers.delete(e.pointerId)) return;
    if (s.gesture === "tool") s.hand.cancel?.(c);
    if (!s.pointers.size) s.gesture = null;
    c.show();
  });
  listen(canvas, "pointerleave", () => { s.hover = null; c.flush(); c.show(); });
  listen(canvas, "contextmenu", e => { e.preventDefault(); c.tool.hold?.(c); });
  listen(canvas, "wheel", e => {
    e.preventDefault();
    e.stopPropagation();
    const step = e.deltaY * (e.deltaMode === 1 ? 16 : 1);
    s.view.zoom(Math.exp(-Math.max(-240, Math.min(240, step)) * (e.ctrlKey ? .008 : .0016)), at(e));
    c.show();
  }, {passive: false});
}

function keys(c, listen) {
  const {canvas, s, root} = c;
  listen(root, "keydown", e => {
    if (e.key !== "Tab") e.stopPropagation();                // Streamlit takes R and C for itself
    const inText = e.target instanceof HTMLInputElement, onButton = e.target instanceof HTMLButtonElement;
    if (inText || (onButton && (e.key === " " || e.key === "Enter"))) return;
    if (pressed(c, e)) { e.preventDefault(); c.show(); }
  });
  listen(root, "keyup", e => {
    if (e.key !== "Tab") e.stopPropagation();
    if (e.key !== " " || !s.space) return;
    // The space bar alone is a click of the keyboard's cross; held while dragging it pans.
    if (s.space !== "used" && s.cursor) {
      c.tool.down?.(c, s.cursor, {moved: false});
      c.tool.up?.(c, s.cursor, {moved: false});
      if (s.tool === "select") c.freeArrows();
    }
    s.space = false;
    c.show();
  });
  listen(canvas, "blur", () => { s.space = false; s.cursor = null; c.flush(); c.show(); });
}

const ARROWS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};

function pressed(c, e) {
  const {s} = c, key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  if (e.ctrlKey || e.metaKey) {
    if (key === "z") return e.shiftKey ? c.redo() : c.undo(), true;
    if (key === "y") return c.redo(), true;
    if (key === "a" && !c.data.editor) return c.setTool("select"), c.select(s.shapes.map((_, i) => i)), c.freeArrows(), true;
    return false;
  }
  if (e.altKey) return false;
  if (c.data.editor && editorKey(c, key)) return true;
  if (key === " ") { s.space ||= e.target === c.canvas ? "held" : false; return true; }
  if (key === "Enter") return c.tool.enter?.(c), true;
  if (key === "Escape") return c.cancel(), true;
  if (key === "Delete" || key === "Backspace") return c.remove(), true;
  if (key === "f") return c.fit(), true;
  if (key === "+" || key === "=") return c.zoom(1.25), true;
  if (key === "-") return c.zoom(.8), true;
  if (ARROWS[key]) return arrow(c, ARROWS[key], e.shiftKey), true;
  const name = c.data.tools.find(t => TOOLS[t].key.toLowerCase() === key);
  if (name) return c.setTool(name), true;
  return false;
}

// Arrows move what is selected by 1 px (with Shift by 10), or else the cross that clicks for the keyboard.
function arrow(c, [dy, dx], shifted) {
  const {s} = c, v = s.view;
  if (s.tool === "select" && s.selected.length && !s.cursor) {
    const step = shifted ? 10 : 1;
    c.change(c.shifted(s.shapes, dy * step, dx * step));
    return;
  }
  const middle = {x: c.canvas.clientWidth / 2, y: c.canvas.clientHeight / 2}, step = shifted ? 1 : 10 / v.k;
  const [y, x] = s.cursor || v.point(middle);
  s.cursor = v.clamp(s.cursor ? [y + dy * step, x + dx * step] : [y, x]);
  const place = v.place(s.cursor);                           // the view follows the cross
  v.pan(Math.min(0, c.canvas.clientWidth - 20 - place.x) + Math.max(0, 20 - place.x),
        Math.min(0, c.canvas.clientHeight - 20 - place.y) + Math.max(0, 20 - place.y));
  s.hover = s.cursor;
  c.tool.move?.(c, s.cursor, {moved: false});
}
