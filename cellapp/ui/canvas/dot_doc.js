// The dots of one image on their way between this browser and the server, so that none is ever lost.
//
// They are fetched from and sent to an address of their own (GET, POST), a moment after the last change; the page need
// not be connected. A save states the revision it was made from. Where another has come in between (409), what was
// changed here is laid over what is there now. As long as something is unsaved, the changes also lie in localStorage:
// after a crash they are laid over the server's dots at the next visit.
const SAVE_AFTER = 900, WRITE_DOWN_AFTER = 150, RETRY_AFTER = 3000;   // ms
const DOCS = new Map();                  // by address
const keyOf = dot => dot.join();

// What was changed: dots that came and went, and the rest as far as it differs.
function difference(from, to) {
  const before = new Set(from.dots.map(keyOf)), after = new Set(to.dots.map(keyOf));
  const changes = {added: to.dots.filter(d => !before.has(keyOf(d))), removed: from.dots.filter(d => !after.has(keyOf(d)))};
  for (const part of ["names", "area"])
    if (JSON.stringify(from[part]) !== JSON.stringify(to[part])) changes[part] = to[part];
  return changes;
}
function apply(content, {added, removed, names, area}) {
  const gone = new Set(removed.map(keyOf)), there = new Set(content.dots.map(keyOf));
  return {...content, names: names || content.names, area: area || content.area, dots: [
    ...content.dots.filter(d => !gone.has(keyOf(d))), ...added.filter(d => !there.has(keyOf(d)))]};
}
const sizeOf = changes => changes.added.length + changes.removed.length + Boolean(changes.names) + Boolean(changes.area);

const contentOf = doc => ({dots: doc.points.map(([y, x], i) => [y, x, doc.labels[i]]), names: doc.names, area: doc.area,
                           empty: doc.empty});
const bodyOf = (content, revision, shape) => JSON.stringify({revision, shape, names: content.names, area: content.area,
  points: content.dots.map(([y, x]) => [y, x]), labels: content.dots.map(d => d[2]),
  empty: content.empty && !content.dots.length});

const notes = {
  read(key) { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } },
  write(key, value) { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* full or forbidden */ } },
  drop(key) { try { localStorage.removeItem(key); } catch { /* forbidden */ } },
  keys() { try { return Object.keys(localStorage); } catch { return []; } },
};

class Doc {
  constructor({url, note, shape}) {
    Object.assign(this, {url, note, shape, revision: -1, kept: null, content: null, state: "loading", words: "",
                         busy: false, count: 0, sent: 0, back: 0, last: 0, host: null});
  }
  get unsaved() { return this.count !== this.sent; }

  async load() {
    if (this.busy) return;
    this.busy = true;
    try {
      const answer = await fetch(this.url, {cache: "no-store"});
      if (answer.ok) this.take(await answer.json());
      else await this.refused(answer);
    } catch { this.offline(() => this.load()); }
    this.busy = false;
    if (this.unsaved) this.later(SAVE_AFTER);
    this.host?.show();
  }
  // What is on the server now. What was changed here, or lies here from an earlier visit, is laid over it.
  take(doc) {
    const theirs = contentOf(doc), first = !this.kept;
    const changes = first ? notes.read(this.note) : this.unsaved ? difference(this.kept, this.content) : null;
    const now = changes ? apply(theirs, changes) : theirs;
    this.shape ||= changes?.shape || doc.shape;
    if (first && changes && sizeOf(difference(theirs, now))) {
      this.back = changes.added.length + changes.removed.length;
      this.count += 1;
    } else if (first) notes.drop(this.note);
    Object.assign(this, {revision: doc.revision, kept: theirs, state: this.unsaved ? "saving" : "saved", words: ""});
    if (!first) this.host?.remember();   // what another tab or the page did can be undone too
    this.content = now;
    this.host?.lay(now);
  }
  change(content) {
    this.content = content;
    this.count += 1;
    this.state = this.state === "offline" ? "offline" : "saving";
    clearTimeout(this.noting);
    this.noting = setTimeout(() => this.writeDown(), WRITE_DOWN_AFTER);
    this.later(SAVE_AFTER);
  }
  writeDown() {
    clearTimeout(this.noting);
    if (this.unsaved && this.kept && this.state !== "gone")
      notes.write(this.note, {...difference(this.kept, this.content), shape: this.shape});
  }
  later(wait) { clearTimeout(this.timer); this.timer = setTimeout(() => this.save(), wait); }
  leave() { this.writeDown(); this.save(); this.host = null; }

  async save(leaving = false) {
    clearTimeout(this.timer);
    if (leaving) this.writeDown();
    if (!this.unsaved || this.busy || !this.kept || this.state === "gone") return;
    this.busy = true;
    const {count, content} = this, body = bodyOf(content, this.revision, this.shape);
    try {
      const answer = await fetch(this.url, {method: "POST", body, headers: {"Content-Type": "application/json"},
        keepalive: leaving && body.length < 60000, signal: AbortSignal.timeout(20000)});
      if (answer.ok) {
        Object.assign(this, {revision: (await answer.json()).revision, kept: content, sent: count, words: ""});
        this.state = this.unsaved ? "saving" : "saved";
        if (!this.unsaved) { clearTimeout(this.noting); notes.drop(this.note); }
        this.host?.saved(this.revision);
      } else if (answer.status === 409) this.take(await answer.json());
      else await this.refused(answer);
    } catch { this.offline(() => this.save()); }
    this.busy = false;
    if (this.unsaved && this.state === "saving") this.later(this.count === count ? 0 : SAVE_AFTER);
    this.host?.show();
  }
  offline(again) {
    this.state = "offline";
    this.writeDown();
    clearTimeout(this.timer);
    this.timer = setTimeout(again, RETRY_AFTER);
  }
  // The server says why: a deleted workspace is the end; a full disk may have room again.
  async refused(answer) {
    this.words = (await answer.text()).slice(0, 300);
    if (answer.status === 410) { this.state = "gone"; notes.drop(this.note); return; }
    if (answer.status >= 500) this.offline(() => this.kept ? this.save() : this.load());
    else { this.state = "refused"; this.writeDown(); }
  }
}

function docOf(about) {
  if (!DOCS.has(about.url)) DOCS.set(about.url, new Doc(about));
  return DOCS.get(about.url);
}
// Changes to other images that an earlier visit could not send.
function recoverOthers(about) {
  const prefix = about.note.slice(0, about.note.lastIndexOf(" ") + 1), base = about.url.slice(0, about.url.lastIndexOf("/") + 1);
  for (const note of notes.keys().filter(key => key.startsWith(prefix) && key !== about.note))
    docOf({url: base + note.slice(prefix.length), note, shape: null}).load();
}
const leavePage = () => { for (const doc of DOCS.values()) doc.save(true); };
window.addEventListener("pagehide", leavePage);
window.addEventListener("blur", () => { for (const doc of DOCS.values()) doc.save(); });
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") leavePage(); });
window.addEventListener("online", () => { for (const doc of DOCS.values()) if (doc.state === "offline") doc.kept ? doc.save() : doc.load(); });
