// Where the image lies on the canvas. Points are [y, x] in pixels of the image, pixel centres at whole numbers;
// places are {x, y} in CSS pixels of the canvas. `k` is CSS pixels per pixel of the image.
const MIN_SIDE = 40;                     // CSS px to which the longer side can shrink
const MAX_ZOOM = 64;

class View {
  constructor(height, width) { this.h = height; this.w = width; this.k = 1; this.x = 0; this.y = 0; this.fitted = true; }

  fit(width, height) {
    this.k = Math.min(width / this.w, height / this.h);
    this.x = (width - this.w * this.k) / 2;
    this.y = (height - this.h * this.k) / 2;
    this.fitted = true;
  }
  zoom(factor, at) {
    const least = Math.min(MIN_SIDE / Math.max(this.w, this.h), 1);
    const k = Math.min(MAX_ZOOM, Math.max(least, this.k * factor));
    this.x = at.x - (at.x - this.x) * k / this.k;
    this.y = at.y - (at.y - this.y) * k / this.k;
    this.k = k;
    this.fitted = false;
  }
  pan(dx, dy) { this.x += dx; this.y += dy; this.fitted = false; }
  place([y, x]) { return {x: this.x + (x + .5) * this.k, y: this.y + (y + .5) * this.k}; }
  point({x, y}) { return [(y - this.y) / this.k - .5, (x - this.x) / this.k - .5]; }
  inside([y, x]) { return y >= -.5 && x >= -.5 && y < this.h - .5 && x < this.w - .5; }
  within([y, x]) { return [Math.min(this.h - .51, Math.max(-.5, y)), Math.min(this.w - .51, Math.max(-.5, x))]; }
  clamp([y, x]) { return [Math.min(this.h - .5, Math.max(-.5, y)), Math.min(this.w - .5, Math.max(-.5, x))]; }
}
