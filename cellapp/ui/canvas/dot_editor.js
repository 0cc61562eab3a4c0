// A canvas whose image is dotted: what it does besides drawing shapes. Mixed into `Canvas` where Python gives `editor`.
const editing = {
  // Another image, or another revision of its dots.
  takeOverDots() {
    const {data, s} = this, about = data.editor, doc = docOf(about);
    doc.shape ||= about.shape;
    if (s.doc !== doc) {
      s.doc?.leave();
      Object.assign(s, {doc, dots: [], shapes: [], undo: [], redo: [], selected: [], chosen: -1, near: -1, press: null,
                        draft: null, grab: null});
      if (!recoverOthers.done) { recoverOthers.done = true; recoverOthers(about); }
      doc.back = 0;
      if (doc.content) this.lay(doc.content);
    }
    doc.host = {show: () => s.show?.(), remember: () => s.owner.remember(), lay: content => s.owner.lay(content),
                saved: revision => s.send({id: about.id, revision}, "kept")};
    if (!doc.content || about.revision > doc.revision) doc.load();
    if (about.map?.url !== s.mapUrl) {
      s.mapUrl = about.map?.url;
      if (!about.map) Object.assign(s, {map: null, look: 0});
      else {
        const image = new Image();       // the map so far stays until the new one is there
        image.onload = () => { if (s.mapUrl === about.map.url) { s.map = image; s.show?.(); } };
        image.src = about.map.url;
      }
    }
  },
  get names() { return this.s.doc.content?.names || ["Cells"]; },
  lay(content) {
    Object.assign(this.s, {dots: content.dots, chosen: -1, near: -1, selected: [], press: null,
      shapes: content.area.map(({name, kind, outline}) => ({name, kind, points: outline}))});
    this.s.label = Math.min(this.s.label, content.names.length);
  },
  contentNow() {
    const {s} = this, {content} = s.doc;
    return {...content, dots: s.dots, area: s.shapes.map(({name, kind, points}) => ({name, kind, outline: points}))};
  },
  changeDots(dots) { this.remember(); this.s.dots = dots; this.push(); },
  removeDot(i) {
    if (!(i >= 0)) return;
    this.changeDots(this.s.dots.filter((_, j) => j !== i));
    Object.assign(this.s, {chosen: -1, near: -1});
  },
  // Classes.
  setClass(n) {
    const {s} = this, {content} = s.doc;
    if (!content || n > MARKS.length) return;
    if (n > content.names.length) {
      const names = [...content.names];
      while (names.length < n) names.push(`Class ${names.length + 1}`);
      s.doc.change({...content, names});
    }
    s.label = n;
    const dot = s.dots[s.chosen];
    if (dot && dot[2] !== n) this.changeDots(s.dots.map((d, i) => i === s.chosen ? [d[0], d[1], n] : d));
  },
  nameClass(text) {
    const {s} = this, {content} = s.doc, name = text.trim();
    if (!content || !name || content.names.includes(name)) return;
    s.doc.change({...content, names: content.names.map((old, i) => i + 1 === s.label ? name : old)});
  },
  // Looking and leaving.
  nextLook() {
    const {s} = this;
    s.look = this.data.editor.map ? (s.look + 1) % LOOKS.length : 0;
  },
  go(step) {
    const {place, of} = this.data.editor;
    if (place + step < 0 || place + step >= of) return;
    this.s.doc.save();
    this.s.send({step, from: this.data.editor.id, time: Date.now()}, "go");
  },
};
