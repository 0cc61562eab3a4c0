// The bars of the dot editor: classes with their tallies, what is looked at, help, and whether all is saved.
const LOOKS = ["Image", "Overlay", "Map"];
const STATES_IN_WORDS = {loading: "Loading …", saving: "Saving …", saved: "Saved", gone: "Deleted", refused: "Not saved",
                         offline: "Offline: kept in this browser, will be sent"};
const HELP = [["Click", "set a dot"], ["Drag a dot", "move it"], ["Alt-click, right-click, Del", "delete a dot"],
  ["1 … 8", "class of new dots, and of the dot that is selected"], ["X", "hide or show the dots"],
  ["Z", "image, overlay, map"], ["F", "the whole image"], ["A  D", "previous, next image"], ["+  −  wheel", "zoom"],
  ["Space and drag", "pan; so does dragging the ground"], ["Ctrl/Cmd+Z", "undo; with Shift redo"],
  ["O  V  B  P", "dot, select, box and polygon of the fully counted area"], ["Arrows, Space", "a cross for the keyboard"],
  ["Finger", "tap to set, hold to delete, two fingers to pan and zoom"], ["?", "this help"]];

const EDITOR_ACTIONS = {
  hide: ["Hide dots", "X", "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6z",
         c => { c.s.hidden = !c.s.hidden; }],
  look: ["Image", "Z", "M12 3l9 5-9 5-9-5zM3 12l9 5 9-5M3 16l9 5 9-5", c => c.nextLook()],
  previous: ["Previous image", "A", "M15 5l-7 7 7 7", c => c.go(-1), true],
  next: ["Next image", "D", "M9 5l7 7-7 7", c => c.go(1), true],
  help: ["Help", "?", "M9 9a3 3 0 116 0c0 2-3 2-3 4M12 17v.5", c => { c.s.help = !c.s.help; }, true],
};

// In a row with so many buttons these must do with their picture; the name is in the tooltip.
const BARE = new Set(["undo", "redo", "remove", "fit"]);

function classBar(c) {
  const bar = c.root.querySelector(".classes"), {s} = c;
  const names = c.names, tally = names.map(() => 0);
  for (const dot of s.dots) tally[dot[2] - 1] += 1;
  const shown = JSON.stringify([names, tally, s.label, s.dots.length, bar.isConnected]);
  if (bar.dataset.shown === shown) return;
  bar.dataset.shown = shown;
  if (bar.querySelectorAll("[data-class]").length !== names.length) buildClasses(c, bar, names);
  bar.querySelectorAll("[data-class]").forEach((button, i) => {
    button.setAttribute("aria-pressed", i + 1 === s.label);
    button.setAttribute("aria-label", `${names[i]}: ${tally[i]} dots, class ${i + 1}`);
    button.querySelector(".name").textContent = names[i];
    button.querySelector(".tally").textContent = tally[i].toLocaleString("en");
  });
  bar.querySelector(".more").hidden = names.length >= MARKS.length;
  const input = bar.querySelector("input");
  if (input.getRootNode().activeElement !== input) input.value = names[s.label - 1];
  bar.querySelector(".total").textContent = names.length > 1 ? `${s.dots.length.toLocaleString("en")} in all` : "";
}

function buildClasses(c, bar, names) {
  const {s} = c, make = (tag, name, text = "") => Object.assign(document.createElement(tag), {className: name, textContent: text});
  bar.replaceChildren(...names.map((_, i) => {
    const button = make("button", "class"), mark = make("canvas", "mark"), g = mark.getContext("2d");
    button.type = "button";
    button.dataset.class = i + 1;
    button.title = `Class ${i + 1} (${i + 1})`;
    Object.assign(mark, {width: 40, height: 40});
    g.scale(2, 2);
    const path = new Path2D();
    MARKS[i](path, 10, 10, 6);
    stroked(g, path, c.data.editor.colours[i], 2);
    button.append(mark, make("span", "name"), make("span", "tally"));
    button.addEventListener("click", () => { s.owner.setClass(i + 1); s.owner.show(); });
    return button;
  }));
  const more = make("button", "more", "+ class"), label = make("label", "rename", "Name "), input = make("input", "");
  more.type = "button";
  more.title = "Another class (its number)";
  more.addEventListener("click", () => { s.owner.setClass(s.owner.names.length + 1); s.owner.show(); });
  Object.assign(input, {type: "text", maxLength: 40, spellcheck: false});
  input.setAttribute("aria-label", "Name of the class");
  input.addEventListener("change", () => { s.owner.nameClass(input.value); s.owner.show(); });
  input.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === "Escape") s.owner.canvas.focus(); });
  label.append(input);
  bar.append(more, label, make("span", "total"));
}

function tellEditor(c) {
  const {s, root, data} = c, find = name => root.querySelector(name), {doc} = s;
  classBar(c);
  const press = (name, on) => find(`[data-do=${name}]`).setAttribute("aria-pressed", on);
  press("hide", s.hidden);
  press("help", s.help);
  const look = find("[data-do=look]");
  look.disabled = !data.editor.map;
  put(look.querySelector("span"), LOOKS[s.look]);
  look.setAttribute("aria-label", `Shown: ${LOOKS[s.look]}`);
  press("look", s.look > 0);
  const {place, of} = data.editor;
  find("[data-do=previous]").disabled = place === 0;
  find("[data-do=next]").disabled = place === of - 1;
  find("[data-do=remove]").disabled = !(s.selected.length || s.dots[s.chosen]);
  find(".help").hidden = !s.help;
  const saved = find(".saved");
  saved.dataset.state = doc.state;
  put(saved, STATES_IN_WORDS[doc.state]);
  const back = doc.back ? `${doc.back} ${doc.back === 1 ? "change" : "changes"} of your last visit, kept in this browser, ` +
    `${doc.back === 1 ? "was" : "were"} brought back.` : "";
  put(find(".told"), doc.words || back);
  Object.assign(c.canvas.dataset, {dots: s.dots.length, state: doc.state, revision: doc.revision, doc: doc.url,
    look: LOOKS[s.look], map: s.map ? "1" : "0"});
}

function editorBars(c) {
  const help = c.root.querySelector(".help");
  c.root.querySelector(".classes").hidden = false;
  help.replaceChildren(...HELP.map(([key, words]) => {
    const row = document.createElement("div");
    row.append(Object.assign(document.createElement("b"), {textContent: key}), ` ${words}`);
    return row;
  }));
}

// Keys of the editor alone; true if it was one.
function editorKey(c, key) {
  if (/^[1-8]$/.test(key)) return c.setClass(Number(key)), true;
  const run = {x: EDITOR_ACTIONS.hide, z: EDITOR_ACTIONS.look, a: EDITOR_ACTIONS.previous, d: EDITOR_ACTIONS.next,
               "?": EDITOR_ACTIONS.help}[key];
  if (!run) return false;
  run[3](c);
  return true;
}
