// ---------------------------------------------------------------- a pane: a drawing that is moved and zoomed
// Only what is in sight is in the document. Items are {id, x, y, w, h, draw, label}, edges {x, y, w, h, path}.

const MARGIN = 80; // beyond the border of the pane, in its own pixels
const READABLE = 0.42; // scale below which small text is left out

class Pane {
  /** `on` has hover(id or null, event or element), open(id, or null beside all items), and moved(). */
  constructor(label, on) {
    this.on = on;
    this.items = [];
    this.edges = [];
    this.places = new Map();
    this.drawn = new Map();
    this.drawnEdges = new Map();
    this.bands = [];
    this.view = { x: 0, y: 0, k: 1 };
    this.size = { w: 0, h: 0 };
    this.world = s(
      "g",
      (this.under = s("g")),
      (this.boxes = s("g")),
      (this.inner = s("g")),
      (this.nodes = s("g")),
      (this.over = s("g.over")),
    );
    this.backs = s("g");
    this.heads = s("g");
    this.svg = s(
      "svg.pane",
      {
        tabindex: "0",
        role: "application",
        "aria-label": label,
        preserveAspectRatio: "xMidYMin meet",
        wheel: (event) => this.wheel(event),
        pointerdown: (event) => this.grab(event),
        pointermove: (event) => this.hover(event),
        pointerleave: () => this.leave(),
        click: (event) => this.click(event),
        keydown: (event) => this.key(event),
        blur: () => this.setCurrent(null),
      },
      this.backs,
      this.world,
      this.heads,
    );
    this.map = h("canvas.minimap", {
      "aria-hidden": "true",
      pointerdown: (event) => this.navigate(event),
      pointermove: (event) => event.buttons && this.navigate(event),
    });
    this.element = h("div.frame", this.svg, this.map);
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  /** Shows another drawing; what stays of the old one keeps its place on the screen. */
  show({ items, edges, bands, width, height }, anchor = null) {
    const before = anchor && this.places.get(anchor);
    Object.assign(this, { items, edges, bands, width, height });
    this.places = new Map(items.map((item) => [item.id, item]));
    const after = anchor && this.places.get(anchor);
    if (before && after) {
      this.view.x += (before.x - after.x) * this.view.k;
      this.view.y += (before.y - after.y) * this.view.k;
    }
    for (const layer of [this.under, this.boxes, this.inner, this.nodes]) layer.replaceChildren();
    this.drawn.clear();
    this.drawnEdges.clear();
    this.refresh();
  }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.element;
    const first = !this.size.w && w;
    this.size = { w, h };
    if (first) this.start();
    if (this.kept != null) this.reveal(this.kept);
    this.refresh();
  }

  // ------------------------------------------------------------ moving

  /** The top of the drawing, as much of its width as is readable. */
  start() {
    if (!this.items.length) return;
    const { w } = this.size;
    const k = clamp((w - 40) / this.width, 0.7, 1);
    const [first] = this.items;
    const room = w - this.width * k;
    this.view = { k, x: room > 40 ? room / 2 : Math.min(20, w / 2 - (first.x + first.w / 2) * k), y: 44 };
    this.refresh();
  }

  fit() {
    const { w, h } = this.size;
    const k = Math.min((w - 40) / this.width, (h - 60) / this.height, 1.2);
    this.view = { k, x: (w - this.width * k) / 2, y: 44 };
    this.refresh();
  }

  zoom(factor, x = this.size.w / 2, y = this.size.h / 2) {
    const k = clamp(this.view.k * factor, 0.02, 3);
    const by = k / this.view.k;
    this.view = { k, x: x - (x - this.view.x) * by, y: y - (y - this.view.y) * by };
    this.refresh();
  }

  move(dx, dy) {
    this.kept = null;
    this.view.x += dx;
    this.view.y += dy;
    this.refresh();
  }

  /** Brings an item into the middle if it is not in sight, or not readable. */
  reveal(id) {
    const item = this.places.get(id);
    this.kept = id; // until the pane is moved by hand
    if (!item || !this.size.w) return;
    if (this.view.k < READABLE) this.view.k = 0.8;
    const { x, y, k } = this.view;
    const [left, top] = [item.x * k + x, item.y * k + y];
    const { w, h } = this.size;
    if (left < 0 || left + item.w * k > w) this.view.x = w / 2 - (item.x + item.w / 2) * k;
    if (top < 40 || top + Math.min(item.h * k, h * 0.5) > h) this.view.y = h * 0.3 - item.y * k;
    this.refresh();
  }

  /** Keeps the drawing from leaving the pane. */
  restrain() {
    const { k } = this.view;
    const { w, h } = this.size;
    this.view.x = clamp(this.view.x, 80 - this.width * k, w - 80);
    this.view.y = clamp(this.view.y, 80 - this.height * k, h - 80);
  }

  wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 20 : 1;
    if (event.ctrlKey || event.metaKey) {
      const box = this.svg.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * unit * 0.004), event.clientX - box.left, event.clientY - box.top);
    } else if (event.shiftKey && !event.deltaX) this.move(-event.deltaY * unit, 0);
    else this.move(-event.deltaX * unit, -event.deltaY * unit);
  }

  grab(event) {
    if (event.button === 0) this.grabbed = { x: event.clientX, y: event.clientY, far: 0 };
  }

  navigate(event) {
    const box = this.map.getBoundingClientRect();
    this.view.x = this.size.w / 2 - ((event.clientX - box.left) / box.width) * this.width * this.view.k;
    this.view.y = this.size.h / 2 - ((event.clientY - box.top) / box.height) * this.height * this.view.k;
    this.refresh();
  }

  // ------------------------------------------------------------ pointer and keyboard

  idAt(event) {
    return event.target.closest?.("[data-id]")?.dataset.id ?? null;
  }

  hover(event) {
    const grabbed = this.grabbed;
    if (grabbed && event.buttons & 1) {
      const [dx, dy] = [event.clientX - grabbed.x, event.clientY - grabbed.y];
      Object.assign(grabbed, { x: event.clientX, y: event.clientY, far: grabbed.far + Math.abs(dx) + Math.abs(dy) });
      if (grabbed.far > 4) {
        if (!this.svg.hasPointerCapture(event.pointerId)) this.svg.setPointerCapture(event.pointerId);
        hideTip();
        this.move(dx, dy);
      }
      return;
    }
    this.on.hover(this.idAt(event), event);
  }

  leave() {
    hideTip();
    this.on.hover(null);
  }

  click(event) {
    const dragged = this.grabbed?.far > 4;
    this.grabbed = null;
    const id = this.idAt(event);
    if (!dragged) this.on.open(id);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow")) {
      const boxes = this.items.map((item) => ({
        item,
        cx: item.x + item.w / 2,
        cy: item.y + Math.min(item.h / 2, 20),
      }));
      const from = boxes.find((box) => box.item.id === this.current);
      const to = from ? neighbour(boxes, from, event.key) : boxes[0];
      if (to) this.setCurrent(to.item.id);
    } else if (event.key === "Enter" || event.key === " ") {
      if (this.current != null) this.on.open(this.current);
    } else if (event.key === "Escape" && this.current != null) {
      event.stopPropagation();
      this.setCurrent(null);
    } else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
  }

  setCurrent(id) {
    this.drawn.get(this.current)?.classList.remove("current");
    this.current = id;
    if (id == null) return this.leave();
    this.reveal(id);
    this.draw();
    const node = this.drawn.get(id);
    node?.classList.add("current");
    announce(this.places.get(id).label);
    this.on.hover(id, node);
  }

  // ------------------------------------------------------------ drawing

  /** Draws soon, once for all changes of a frame. */
  refresh() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    if (!this.size.w || !this.width) return;
    this.restrain();
    const { x, y, k } = this.view;
    this.world.setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${k.toFixed(4)})`);
    this.svg.setAttribute("viewBox", `0 0 ${this.size.w} ${this.size.h}`);
    this.svg.classList.toggle("far", k < READABLE);
    const sight = {
      x: (-x - MARGIN) / k,
      y: (-y - MARGIN) / k,
      w: (this.size.w + 2 * MARGIN) / k,
      h: (this.size.h + 2 * MARGIN) / k,
    };
    const seen = (item) => meets(item, sight) && (k >= READABLE / 2 || !item.small);
    this.sync(this.drawn, this.items.filter(seen), (item) =>
      put(item.small ? this.nodes : this.boxes, this.mark(item.draw(), item.id)),
    );
    this.sync(
      this.drawnEdges,
      this.edges.filter((edge) => edge.path && seen(edge)),
      (edge) =>
        put(
          edge.small ? this.inner : this.under,
          s("path", { d: edge.path, class: "edge", transform: edge.at && `translate(${edge.at})` }),
        ),
    );
    this.drawHeads();
    this.drawMap();
    this.on.moved();
  }

  /** Makes what is drawn that which is wanted; what is there already stays. */
  sync(drawn, wanted, make) {
    const ids = new Set(wanted.map((item) => item.id));
    for (const [id, node] of drawn) {
      if (ids.has(id)) continue;
      node.remove();
      drawn.delete(id);
    }
    for (const item of wanted) {
      if (!drawn.has(item.id)) drawn.set(item.id, make(item));
    }
  }

  mark(node, id) {
    node.dataset.id = id;
    if (this.lit) node.classList.add(this.lit.has(id) ? "lit" : "dim");
    if (id === this.current) node.classList.add("current");
    return node;
  }

  /** Lights up some items and dims the others, a little where nothing is pointed at; null lights all. */
  light(ids, resting = false) {
    this.lit = ids;
    this.svg.classList.toggle("resting", resting);
    for (const [id, node] of this.drawn) {
      node.classList.toggle("lit", Boolean(ids?.has(id)));
      node.classList.toggle("dim", Boolean(ids && !ids.has(id)));
    }
    this.svg.classList.toggle("lighting", Boolean(ids));
    this.drawMap();
  }

  /** The names of the lanes, at the top of the pane whatever is in sight. */
  drawHeads() {
    const { x, k } = this.view;
    this.backs.replaceChildren();
    this.heads.replaceChildren(s("rect", { width: this.size.w, height: 34, class: "veil" }));
    for (const band of this.bands) {
      const [from, to] = [band.x * k + x - 8, (band.x + band.w) * k + x + 8];
      const [left, right] = [Math.max(from, 0), Math.min(to, this.size.w)];
      if (right <= left) continue;
      this.backs.append(
        s("rect", {
          x: from,
          y: 0,
          width: to - from,
          height: this.size.h,
          class: "band",
          style: { fill: phaseColour(band.name) },
        }),
      );
      if (right - left > 70)
        this.heads.append(
          s(
            "text",
            { x: (left + right) / 2, y: 22, class: "head", style: { fill: phaseColour(band.name) } },
            band.name,
          ),
        );
    }
  }

  drawMap() {
    const { w, h } = this.size;
    const { x, y, k } = this.view;
    const hidden = this.width * k < w + 1 && this.height * k < h - 20;
    this.map.hidden = hidden;
    if (hidden || !this.width) return;
    const scale = Math.min(110 / this.width, (w * 0.17) / this.width, (h * 0.55) / this.height, 0.12);
    const [mw, mh] = [Math.max(this.width * scale, 44), Math.max(this.height * scale, 30)];
    const dots = window.devicePixelRatio || 1;
    Object.assign(this.map, { width: mw * dots, height: mh * dots });
    Object.assign(this.map.style, { width: `${mw}px`, height: `${mh}px` });
    const context = this.map.getContext("2d");
    const colour = (name) => {
      this.map.style.color = `var(--${name})`;
      return getComputedStyle(this.map).color;
    };
    const colours = Object.fromEntries([...PHASES, "accent"].map((name) => [name, colour(name)]));
    context.scale((mw * dots) / this.width, (mh * dots) / this.height);
    for (const item of this.items) {
      if (item.small && !this.lit?.has(item.id)) continue;
      context.globalAlpha = this.lit && !this.lit.has(item.id) ? 0.25 : 0.8;
      context.fillStyle = colours[item.lane ?? "accent"];
      context.fillRect(item.x, item.y, item.w, Math.max(item.h, (1.5 * this.height) / mh));
    }
    context.globalAlpha = 1;
    context.strokeStyle = colours.accent;
    context.lineWidth = (1.5 * this.height) / mh;
    context.strokeRect(-x / k, -y / k, w / k, h / k);
  }

  /** Where an item is on the screen, relative to the pane; null if there is none. */
  rectangle(id) {
    const item = this.places.get(id);
    const { x, y, k } = this.view;
    return item && { x: item.x * k + x, y: item.y * k + y, w: item.w * k, h: item.h * k };
  }

  /** Buttons for those who have no wheel. */
  controls() {
    const button = (label, text, click) =>
      h("button", { type: "button", class: "icon", title: label, "aria-label": label, click }, text);
    return [
      button("Zoom out", "−", () => this.zoom(0.8)),
      button("Zoom in", "+", () => this.zoom(1.25)),
      button("Show everything", "⤢", () => this.fit()),
    ];
  }
}

function put(parent, node) {
  parent.append(node);
  return node;
}

const meets = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
