"use strict";

// ---------------------------------------------------------------- elements, numbers as text, the tooltip

const NONE = "–";

/** Sets attributes (functions become listeners) and appends children; strings are always text, never markup. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child != null && child !== false));
  return node;
}

/** A new element for "tag.class.class", perhaps attributes, and children. */
function make(namespace, [selector, ...rest]) {
  const [tag, ...classes] = selector.split(".");
  const attributes = rest[0]?.constructor === Object ? rest.shift() : {};
  return fill(document.createElementNS(namespace, tag), { class: classes.join(" ") || null, ...attributes }, rest);
}

const h = (...parts) => make("http://www.w3.org/1999/xhtml", parts);
const s = (...parts) => make("http://www.w3.org/2000/svg", parts);

const byId = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

/** The sum of measured numbers, or null where none was measured. */
function total(numbers) {
  const known = numbers.filter((x) => x != null);
  return known.length ? sum(known) : null;
}

const ratio = (a, b) => (a == null || b == null || b === 0 ? null : a / b);

// ---------------------------------------------------------------- numbers as text

const PREFIXES = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
  [1, ""],
  [1e-3, "m"],
  [1e-6, "µ"],
  [1e-9, "n"],
];

/** A number with three digits and a prefix for its unit: 1.23 MB. */
function quantity(x, unit) {
  if (x == null) return NONE;
  if (x === 0) return `0 ${unit}`;
  const [scale, prefix] = PREFIXES.find(([least]) => Math.abs(x) >= least * 0.9995) || [1e-9, "n"];
  if (scale < 1 && unit !== "s") return `${Number(x.toPrecision(2))} ${unit}`;
  const scaled = x / scale;
  const whole = scale === 1 && Number.isInteger(x);
  return `${whole ? x : scaled.toPrecision(Math.abs(scaled) >= 1000 ? 4 : 3)} ${prefix}${unit}`;
}

const seconds = (x) => quantity(x, "s");
const bytes = (x) => quantity(x, "B");
const flops = (x) => quantity(x, "FLOP");
const flopRate = (x) => quantity(x, "FLOP/s");
const byteRate = (x) => quantity(x, "B/s");
const percent = (x) => (x == null ? NONE : `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)} %`);
const whole = (x) => (x == null ? NONE : x.toLocaleString("en"));

/** A text of at most so many characters, cut in its middle. */
function shortened(text, most) {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) * 0.4);
  return `${text.slice(0, head)}…${text.slice(text.length - Math.max(1, most - 1 - head))}`;
}

const RULER = document.createElement("canvas").getContext("2d");

/** The width of a text in pixels, in a font such as "600 12px". */
function widthOf(text, font, family = "--sans") {
  RULER.font = `${font} ${getComputedStyle(document.documentElement).getPropertyValue(family)}`;
  return RULER.measureText(text).width;
}

/** A text cut in its middle until it is at most so many pixels wide. */
function fitted(text, width, font, family = "--sans") {
  const whole = widthOf(text, font, family);
  if (whole <= width) return text;
  let most = Math.max(4, Math.floor((text.length * width) / whole));
  while (most > 4 && widthOf(shortened(text, most), font, family) > width) most--;
  return shortened(text, most);
}

// ---------------------------------------------------------------- the tooltip and what is read aloud

/** Shows lines at the pointer, or beside an element for the keyboard; the first line is a title. */
function showTip(at, [title, ...lines]) {
  const tip = byId("tip");
  tip.replaceChildren(h("b", title), ...lines.filter(Boolean).map((line) => h("div", line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const [x, y] = at instanceof Element ? besides(at) : [at.clientX + 14, at.clientY + 16];
  tip.style.left = `${Math.max(4, Math.min(x, innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(4, y + box.height > innerHeight - 8 ? y - box.height - 24 : y)}px`;
}

function besides(element) {
  const box = element.getBoundingClientRect();
  return [box.left, box.bottom + 8];
}

function hideTip() {
  byId("tip").hidden = true;
}

/** Has a screen reader say a text. */
function announce(text) {
  byId("announcer").textContent = text;
}

/** The nearest of some boxes from one of them in the direction of an arrow key, or null. */
function neighbour(boxes, from, key) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null;
  let least = Infinity;
  for (const box of boxes) {
    const x = box.cx - from.cx;
    const y = box.cy - from.cy;
    const ahead = x * dx + y * dy;
    const cost = ahead + 2.5 * Math.abs(x * dy + y * dx);
    if (box !== from && ahead > 0.5 && cost < least) [best, least] = [box, cost];
  }
  return best;
}

/** Lets the keyboard walk over the marks of a picture: {node, cx, cy, lines, open}. */
function walkable(svg, marks) {
  let current = null;
  const leave = () => {
    current?.node.classList.remove("current");
    hideTip();
  };
  const enter = (mark) => {
    leave();
    current = mark;
    mark.node.classList.add("current");
    showTip(mark.node, mark.lines());
    announce(mark.lines().join(", "));
  };
  fill(
    svg,
    {
      tabindex: "0",
      keydown: (event) => {
        if (event.key.startsWith("Arrow") && marks.length) {
          event.preventDefault();
          enter((current && neighbour(marks, current, event.key)) || current || marks[0]);
        } else if (event.key === "Enter" && current) current.open();
      },
      blur: leave,
    },
    [],
  );
  for (const mark of marks) {
    fill(
      mark.node,
      {
        pointermove: (event) => showTip(event, mark.lines()),
        pointerleave: hideTip,
        click: () => mark.open(),
      },
      [],
    );
  }
}

/** A group of buttons of which one is pressed. */
function choice(label, options, chosen, choose) {
  return h(
    "div.choice",
    { role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), click: () => choose(value) }, text),
    ),
  );
}

/** A coloured square before a name. */
const swatch = (colour) => h("i.swatch", { style: { background: colour } });
