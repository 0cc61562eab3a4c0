// Everything that is painted: the image, the shapes with their names, handles and the keyboard's cross.
const HANDLE = 5;                        // CSS px, half a handle's side

function paint(c) {
  const {canvas, s} = c, g = canvas.getContext("2d"), v = s.view;
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  if (v.fitted) v.fit(width, height);
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = "#1b1b1b";
  g.fillRect(0, 0, width, height);
  const {editor} = c.data, onMap = editor && s.map && s.look === 2;
  if (s.image && !onMap) paintImage(g, s, width, height, ratio);
  if (editor) { paintMap(c, g); paintOutside(c, g); }
  s.shapes.forEach((shape, i) => outline(g, c, shape, i, s.selected.includes(i)));
  if (s.draft) outline(g, c, s.draft, s.shapes.length, true, true);
  const taken = [];
  s.shapes.forEach((shape, i) => nameTag(g, c, shape, i, taken, width));
  if (s.selected.length === 1 && !s.draft) handles(g, c, s.shapes[s.selected[0]].points);
  if (s.draft && s.draft.kind === "polygon") handles(g, c, s.draft.points.slice(0, s.draft.placed));
  if (editor) { paintDots(c, g, width, height); paintBar(c, g, height); }
  c.tool.draw?.(c, g);
  if (s.cursor && document.activeElement !== document.body) cross(g, v.place(s.cursor));
  Object.assign(canvas.dataset, {ready: s.image ? "1" : "0", view: JSON.stringify({k: v.k, x: v.x, y: v.y}),
    shapes: s.shapes.length, selected: s.selected.join(" "), tool: s.tool});
}

// The n-th region has the n-th colour, as in the panes of the results; lines do not count.
function colourOf(c, shape, i) {
  if (shape.kind === "line") return c.data.lineColour;
  const before = c.s.shapes.slice(0, i).filter(q => q.kind !== "line").length;
  return c.data.colours[before % c.data.colours.length];
}

function outline(g, c, shape, i, strong, dashed) {
  g.beginPath();
  shape.points.forEach((p, j) => { const q = c.s.view.place(p); j ? g.lineTo(q.x, q.y) : g.moveTo(q.x, q.y); });
  if (shape.kind !== "line" && !(dashed && shape.kind === "polygon")) g.closePath();
  g.lineJoin = g.lineCap = "round";
  g.setLineDash([]);
  g.strokeStyle = "rgba(0,0,0,.75)";     // a dark rim, so that the line is seen on bright ground too
  g.lineWidth = strong ? 6 : 4;
  g.stroke();
  g.setLineDash(dashed ? [7, 5] : []);
  g.strokeStyle = colourOf(c, shape, i);
  g.lineWidth = strong ? 3 : 1.75;
  g.stroke();
  g.setLineDash([]);
}

function nameTag(g, c, shape, i, taken, width) {
  const text = shape.kind === "line" ? measured(shape, null).replace("Length ", "") : shape.name;
  if (!text) return;
  g.font = "600 13px sans-serif";
  const [t, l, , r] = boundsOf(shape.points), w = g.measureText(text).width + 8, at = c.s.view.place([t, l]);
  const room = (r - l) * c.s.view.k;
  if (c.s.shapes.length > 12 && w > room && !c.s.selected.includes(i)) return;  // a grid of small squares
  let x = at.x, y = at.y - 20 > 2 && room >= w ? at.y - 20 : at.y + 3;
  if (shape.kind === "line") {           // beside its right end, off the cell
    const end = c.s.view.place(shape.points.reduce((a, b) => a[1] > b[1] ? a : b));
    [x, y] = [end.x + 10, end.y - 9];
  }
  x = Math.max(2, Math.min(x, width - w - 2));
  while (taken.some(b => Math.abs(b.y - y) < 18 && x < b.x + b.w && b.x < x + w)) y += 18;
  taken.push({x, y, w});
  g.fillStyle = "rgba(0,0,0,.72)";
  g.fillRect(x, y, w, 18);
  g.fillStyle = colourOf(c, shape, i);
  g.textBaseline = "middle";
  g.fillText(text, x + 4, y + 9.5);
}

function handles(g, c, points) {
  for (const p of points) {
    const {x, y} = c.s.view.place(p);
    g.fillStyle = "#fff";
    g.strokeStyle = "#000";
    g.lineWidth = 1.5;
    g.fillRect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE);
    g.strokeRect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE);
  }
}

function cross(g, {x, y}) {
  for (const [colour, width] of [["rgba(0,0,0,.8)", 4], ["#fff", 1.5]]) {
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.beginPath();
    g.moveTo(x - 14, y); g.lineTo(x - 4, y); g.moveTo(x + 4, y); g.lineTo(x + 14, y);
    g.moveTo(x, y - 14); g.lineTo(x, y - 4); g.moveTo(x, y + 4); g.lineTo(x, y + 14);
    g.stroke();
  }
}
