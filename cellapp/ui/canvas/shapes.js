// A shape is {kind, name, points}: "line" with two points, "box" with four corners from the top left clockwise,
// "polygon" with its corners. Nothing here changes a shape; every function gives a new one.
const rounded = points => points.map(p => p.map(v => Math.round(v * 100) / 100));
const boxOf = ([ay, ax], [by, bx]) => {
  const [t, b] = [Math.min(ay, by), Math.max(ay, by)], [l, r] = [Math.min(ax, bx), Math.max(ax, bx)];
  return [[t, l], [t, r], [b, r], [b, l]];
};
const boundsOf = points => {
  const ys = points.map(p => p[0]), xs = points.map(p => p[1]);
  return [Math.min(...ys), Math.min(...xs), Math.max(...ys), Math.max(...xs)];
};
const shift = (shape, dy, dx) => ({...shape, points: rounded(shape.points.map(([y, x]) => [y + dy, x + dx]))});
const lengthOf = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const areaOf = points => Math.abs(points.reduce((sum, [y, x], i) => {
  const [v, u] = points[(i + 1) % points.length];
  return sum + x * v - u * y;
}, 0)) / 2;

function withHandle(shape, i, point) {
  if (shape.kind === "box") return {...shape, points: rounded(boxOf(shape.points[(i + 2) % 4], point))};
  return {...shape, points: rounded(shape.points.map((p, j) => j === i ? point : p))};
}

function distance([y, x], [ay, ax], [by, bx]) {
  const dy = by - ay, dx = bx - ax, d2 = dy * dy + dx * dx;
  const t = d2 ? Math.max(0, Math.min(1, ((y - ay) * dy + (x - ax) * dx) / d2)) : 0;
  return Math.hypot(y - ay - t * dy, x - ax - t * dx);
}

function encloses(points, [y, x]) {
  let odd = false;
  points.forEach(([ay, ax], i) => {
    const [by, bx] = points[(i + 1) % points.length];
    if ((ay > y) !== (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax)) odd = !odd;
  });
  return odd;
}

const touches = (shape, point, reach) => {
  const n = shape.kind === "line" ? 1 : shape.points.length;
  for (let i = 0; i < n; i++)
    if (distance(point, shape.points[i], shape.points[(i + 1) % shape.points.length]) <= reach) return true;
  return n > 1 && encloses(shape.points, point);
};

const threeDigits = value => value.toLocaleString("en", {maximumSignificantDigits: 3});

// The shape in words, for the status line; `um` is micrometres per pixel or null.
function measured(shape, um) {
  const fixed = (px, n) => px.toLocaleString("en", {minimumFractionDigits: n, maximumFractionDigits: n});
  const both = (px, power, digits) => `${fixed(px, digits)} px${power}` +
    (um ? ` (${threeDigits(px * um ** (power ? 2 : 1))} µm${power})` : "");
  if (shape.kind === "line") return `Length ${both(lengthOf(shape.points), "", 1)}`;
  const [t, l, b, r] = boundsOf(shape.points);
  const sides = shape.kind === "box" ? `${(r - l).toFixed(1)} × ${(b - t).toFixed(1)} px, ` : "";
  return shape.points.length < 3 ? "" : `${sides}area ${both(areaOf(shape.points), "²", 0)}`;
}
