// Dots as they are seen: a colour and a mark of its own for each class. Only those in view are drawn, as small pictures:
// stroking 5,000 outlines in each frame stutters where no graphics card helps.
// A dot is [y, x, class]. A mark adds itself to a path at a place, r CSS pixels wide.
const MARKS = [
  (g, x, y, r) => { g.moveTo(x + r, y); g.arc(x, y, r, 0, 2 * Math.PI); },
  (g, x, y, r) => g.rect(x - .9 * r, y - .9 * r, 1.8 * r, 1.8 * r),
  (g, x, y, r) => corners(g, [[x, y - 1.1 * r], [x + r, y + .8 * r], [x - r, y + .8 * r]]),
  (g, x, y, r) => corners(g, [[x, y - 1.2 * r], [x + 1.2 * r, y], [x, y + 1.2 * r], [x - 1.2 * r, y]]),
  (g, x, y, r) => { g.moveTo(x - r, y); g.lineTo(x + r, y); g.moveTo(x, y - r); g.lineTo(x, y + r); },
  (g, x, y, r) => { r *= .85; g.moveTo(x - r, y - r); g.lineTo(x + r, y + r); g.moveTo(x - r, y + r); g.lineTo(x + r, y - r); },
  (g, x, y, r) => corners(g, [[x, y + 1.1 * r], [x + r, y - .8 * r], [x - r, y - .8 * r]]),
  (g, x, y, r) => corners(g, [0, 1, 2, 3, 4, 5].map(k => [x + 1.1 * r * Math.cos(k * Math.PI / 3), y + 1.1 * r * Math.sin(k * Math.PI / 3)])),
];
function corners(g, places) {
  places.forEach(([x, y], i) => i ? g.lineTo(x, y) : g.moveTo(x, y));
  g.closePath();
}

// Smaller where the image is: dots on a whole 4096 px image would hide it.
const radiusOf = k => Math.max(2.5, Math.min(6, 6 * Math.sqrt(k)));

function stroked(g, path, colour, width) {
  g.lineJoin = "miter";
  g.strokeStyle = "rgba(0,0,0,.8)";      // a dark rim, so that marks are seen on bright ground too
  g.lineWidth = width + 2;
  g.stroke(path);
  g.strokeStyle = colour;
  g.lineWidth = width;
  g.stroke(path);
}

const SPRITES = new Map();
function spriteOf(i, colour, r, ratio) {
  r = Math.round(2 * r) / 2;
  const name = `${i} ${colour} ${r} ${ratio}`;
  if (!SPRITES.has(name)) {
    if (SPRITES.size > 400) SPRITES.clear();
    const side = 2 * Math.ceil((1.2 * r + 3) * ratio), path = new Path2D();
    const sprite = Object.assign(document.createElement("canvas"), {width: side, height: side}), g = sprite.getContext("2d");
    g.scale(ratio, ratio);
    MARKS[i](path, side / 2 / ratio, side / 2 / ratio, r);
    stroked(g, path, colour, r < 4 ? 1.25 : 2);
    SPRITES.set(name, sprite);
  }
  return SPRITES.get(name);
}

function paintDots(c, g, width, height) {
  const {s, data} = c, {k, x: ox, y: oy} = s.view, r = radiusOf(k);
  if (s.hidden) return;
  const ratio = window.devicePixelRatio || 1, sprites = data.editor.colours.map((colour, i) => spriteOf(i, colour, r, ratio));
  const half = sprites[0].width / 2;
  g.save();
  g.setTransform(1, 0, 0, 1, 0, 0);      // whole pixels of the screen: nothing has to be interpolated
  for (const [y, x, label] of s.dots) {
    const px = ox + (x + .5) * k, py = oy + (y + .5) * k;
    if (px < -r || py < -r || px > width + r || py > height + r) continue;
    g.drawImage(sprites[label - 1], Math.round(px * ratio - half), Math.round(py * ratio - half));
  }
  g.restore();
  const one = s.dots[s.chosen] || s.dots[s.near];
  if (!one) return;
  const at = s.view.place(one), ring = new Path2D();
  ring.arc(at.x, at.y, r + 5, 0, 2 * Math.PI);
  g.setLineDash(s.dots[s.chosen] ? [] : [3, 3]);
  stroked(g, ring, "#fff", 1.5);
  g.setLineDash([]);
}

// The map over the image or in its place, with a bar of its colours.
function paintMap(c, g) {
  const {s} = c, {map} = c.data.editor, v = s.view;
  if (!map || !s.map || s.look === 0) return;
  g.imageSmoothingEnabled = true;
  g.globalAlpha = s.look === 1 ? .6 : 1;
  g.drawImage(s.map, v.x, v.y, v.w * v.k, v.h * v.k);
  g.globalAlpha = 1;
}
function paintBar(c, g, height) {
  const {s} = c, {map} = c.data.editor;
  if (!map || !s.map || s.look === 0) return;
  const bar = g.createLinearGradient(14, 0, 134, 0);
  ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"].forEach((colour, i) => bar.addColorStop(i / 4, colour));
  g.fillStyle = "rgba(0,0,0,.72)";
  g.fillRect(6, height - 46, 176, 40);
  g.fillStyle = bar;
  g.fillRect(14, height - 38, 120, 9);
  g.fillStyle = "#fff";
  g.font = "12px sans-serif";
  g.textBaseline = "alphabetic";
  g.fillText("0", 14, height - 13);
  g.fillText(`${map.top.toLocaleString("en", {maximumSignificantDigits: 2})} ${map.unit}`, 30, height - 13);
}

// What lies outside of the fully counted areas is dimmed.
function paintOutside(c, g) {
  const {s} = c, areas = s.shapes.filter(shape => shape.kind !== "line");
  if (!areas.length) return;
  const path = new Path2D(), v = s.view;
  path.rect(v.x, v.y, v.w * v.k, v.h * v.k);
  for (const {points} of areas) corners(path, points.map(p => { const q = v.place(p); return [q.x, q.y]; }));
  g.fillStyle = "rgba(0,0,0,.45)";
  g.fill(path, "evenodd");
}

// The image at halves of its size: shrinking 16 Mpx anew for every frame is what makes a pan stutter.
function halvesOf(image) {
  const levels = [image];
  let [w, h] = [image.naturalWidth, image.naturalHeight];
  while (Math.max(w, h) > 1024) {
    [w, h] = [Math.ceil(w / 2), Math.ceil(h / 2)];
    const half = Object.assign(document.createElement("canvas"), {width: w, height: h}), g = half.getContext("2d");
    g.imageSmoothingQuality = "medium";
    g.drawImage(levels.at(-1), 0, 0, w, h);
    levels.push(half);
  }
  return levels;
}
function paintImage(g, s, width, height, ratio) {
  const v = s.view, full = s.levels[0].naturalWidth, shrink = full / (v.w * v.k * ratio);
  const level = s.levels[Math.max(0, Math.min(s.levels.length - 1, Math.floor(Math.log2(Math.max(1, shrink)))))];
  const [lw, lh] = [level.naturalWidth ?? level.width, level.naturalHeight ?? level.height];
  const [kx, ky] = [v.w * v.k / lw, v.h * v.k / lh];         // only the part in view, in whole pixels of the level
  const l = Math.max(0, Math.floor(-v.x / kx)), t = Math.max(0, Math.floor(-v.y / ky));
  const r = Math.min(lw, Math.ceil((width - v.x) / kx)), b = Math.min(lh, Math.ceil((height - v.y) / ky));
  if (r <= l || b <= t) return;
  g.imageSmoothingEnabled = kx * ratio < 2;                  // single pixels show as squares
  g.imageSmoothingQuality = "medium";
  g.drawImage(level, l, t, r - l, b - t, v.x + l * kx, v.y + t * ky, (r - l) * kx, (b - t) * ky);
}
