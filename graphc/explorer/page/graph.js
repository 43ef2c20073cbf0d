// ---------------------------------------------------------------- the graph before and after: values and kernels

const BOX = { w: 172, h: 44, head: 34, pad: 14, cell: 204, kernel: 44 };
const FONTS = { title: "600 12.5px", value: "550 11.5px", sub: "11px" };
const FEW = 48; // values up to which groups start open
const WIRES = 120; // lines between the panes at most

class GraphView {
  constructor(model, step, app) {
    Object.assign(this, { model, step, app });
    this.stage = step.last;
    this.open = new Set();
    this.left = new Pane("Values of the graph, by layer. Arrow keys move, Enter opens a layer or a kernel.", {
      hover: (id, at) => this.hoverValues(id, at),
      open: (id) => this.openLeft(id),
      moved: () => this.drawWires(),
    });
    this.right = new Pane("Kernels, by layer. Arrow keys move, Enter opens a kernel.", {
      hover: (id, at) => this.hoverKernels(id, at),
      open: (id) => this.openRight(id),
      moved: () => this.drawWires(),
    });
    this.wires = s("svg.wires", { "aria-hidden": "true" });
    this.counts = h("span.muted");
    const stages = h(
      "select",
      { "aria-label": "Stage", change: () => this.setStage(stages.value) },
      step.stages.map((stage) =>
        h(
          "option",
          { value: stage.name, selected: stage === this.stage },
          stage === step.stages[0] ? stage.name : `after ${stage.name}`,
        ),
      ),
    );
    this.stages = stages;
    this.element = h(
      "section.graph",
      { "aria-label": "Graph" },
      h(
        "div.half",
        h(
          "div.bar",
          h("h2", "Values"),
          stages,
          this.counts,
          h("span.push"),
          h("button", { type: "button", click: () => this.expandAll() }, "Expand"),
          h("button", { type: "button", click: () => this.collapseAll() }, "Collapse"),
          this.left.controls(),
        ),
        this.left.element,
      ),
      h(
        "div.half",
        h(
          "div.bar",
          h("h2", "Kernels"),
          h("span.muted", `${step.kernels.length}, in the order of the plan`),
          h("span.push"),
          this.right.controls(),
        ),
        this.right.element,
      ),
      this.wires,
    );
    this.showStage();
    this.showKernels();
  }

  // ------------------------------------------------------------ values

  setStage(name) {
    this.stage = this.step.stages.find((stage) => stage.name === name) || this.step.last;
    this.stages.value = this.stage.name;
    this.showStage();
    this.left.start();
  }

  showStage() {
    const { values } = this.stage;
    this.groups = groupsOf(values);
    this.groupOf = new Map();
    for (const group of this.groups.values()) for (const v of group.values) this.groupOf.set(v.id, group.id);
    this.users = new Map();
    for (const v of values) for (const o of v.operands) push(this.users, o, v.id);
    this.ranks = this.stage === this.step.last ? this.step.ranks : layerRanks(values);
    this.links = linksBetween(this.groups, this.groupOf, values);
    this.open.clear();
    this.counts.textContent = `${plural(values.length, "value")} in ${plural(this.groups.size, "group")}`;
    this.insides = new Map();
    if (values.length <= FEW) this.open = new Set(this.groups.keys());
    this.layOut();
  }

  /** The drawing of a group's own values, made once. */
  inside(group) {
    if (!this.insides.has(group.id)) {
      const number = new Map(group.values.map((v, i) => [v.id, i]));
      const nodes = group.values.map((value) => {
        const title = isLeaf(value) ? value.name : value.op;
        return {
          value,
          title,
          h: 36,
          w: clamp(Math.max(widthOf(title, FONTS.value), shortType(value).length * 5.9) + 22, 84, 204),
        };
      });
      const edges = [];
      for (const v of group.values) {
        for (const o of new Set(v.operands)) if (number.has(o)) edges.push([number.get(o), number.get(v.id)]);
      }
      this.insides.set(group.id, { nodes, edges, ...drawLayered(nodes, edges) });
    }
    return this.insides.get(group.id);
  }

  layOut(anchor = null) {
    const groups = [...this.groups.values()];
    const boxes = groups.map((group) => {
      const inside = this.open.has(group.id) && this.inside(group);
      const rank = this.ranks.get(group.layer) ?? 0;
      return inside
        ? {
            group,
            lane: group.lane,
            rank,
            inside,
            w: Math.max(BOX.w + 70, inside.width + 2 * BOX.pad),
            h: inside.height + BOX.head + BOX.pad,
          }
        : { group, lane: group.lane, rank, w: BOX.w, h: BOX.h };
    });
    const made = drawLanes(boxes, this.links, PHASES);
    const items = [];
    const lines = this.links.map(([a, b], i) => spanning(`${a}-${b}`, boxes[a], boxes[b], made.paths[i]));
    for (const box of boxes) {
      items.push(this.groupItem(box));
      if (!box.inside) continue;
      const [x, y] = [box.x + (box.w - box.inside.width) / 2, box.y + BOX.head];
      for (const node of box.inside.nodes) items.push(this.valueItem(node, x, y));
      box.inside.paths.forEach(
        (path, i) =>
          path &&
          lines.push({
            id: `${box.group.id}/${i}`,
            x: box.x,
            y: box.y,
            w: box.w,
            h: box.h,
            path,
            at: [x, y],
            small: true,
          }),
      );
    }
    this.left.show({ items, edges: lines, bands: made.lanes, width: made.width, height: made.height }, anchor);
    this.left.light(null);
  }

  groupItem({ group, x, y, w, h, inside, lane }) {
    const kernels = this.kernelsOfGroup(group).size;
    const name = group.layer || "no layer";
    const about = `${plural(group.values.length, "value")}${kernels ? ` → ${plural(kernels, "kernel")}` : ""}`;
    return {
      id: group.id,
      x,
      y,
      w,
      h,
      lane,
      label: `${name}, ${group.lane}, ${about}, ${inside ? "open" : "collapsed"}`,
      draw: () =>
        s(
          "g",
          {
            class: `group ${inside ? "open" : ""}`,
            transform: `translate(${x} ${y})`,
            style: { "--lane": phaseColour(lane) },
          },
          s("rect", { width: w, height: h, rx: 7, class: "box" }),
          s("rect", {
            width: 4,
            height: Math.min(h, BOX.h) - 12,
            x: 7,
            y: 6,
            rx: 2,
            fill: this.model.colour(group.layer),
          }),
          s(
            "text",
            { x: 19, y: 19, class: "title" },
            fitted(name, inside ? w - 62 - widthOf(about, FONTS.sub) : w - 46, FONTS.title),
          ),
          s("text", { x: inside ? w - 28 : 19, y: inside ? 19 : 35, class: inside ? "sub end" : "sub" }, about),
          s("text", { x: w - 18, y: 20, class: "fold" }, inside ? "−" : "+"),
        ),
    };
  }

  valueItem({ value, title, x, y, w, h }, left, top) {
    const leaf = isLeaf(value);
    return {
      id: value.id,
      x: left + x,
      y: top + y,
      w,
      h,
      small: true,
      label: value.text,
      draw: () =>
        s(
          "g",
          {
            class: `value ${leaf ? "leaf" : ""} ${this.step.kernelsOf.has(value.id) ? "" : "free"}`,
            transform: `translate(${left + x} ${top + y})`,
          },
          s("rect", { width: w, height: h, rx: leaf ? 17 : 5, class: "box" }),
          s("text", { x: w / 2, y: 15, class: "title" }, fitted(title, w - 12, FONTS.value)),
          s("text", { x: w / 2, y: 28, class: "sub" }, shortened(shortType(value), 30)),
        ),
    };
  }

  toggle(id) {
    if (!this.open.delete(id)) this.open.add(id);
    this.layOut(id);
  }

  expandAll() {
    this.open = new Set(this.groups.keys());
    this.layOut();
    this.left.start();
  }

  collapseAll() {
    this.open.clear();
    this.layOut();
    this.left.start();
  }

  // ------------------------------------------------------------ kernels

  showKernels() {
    const cells = new Map();
    for (const kernel of this.step.kernels) {
      push(cells, `cell ${laneOf(kernel.phase)}:${kernel.layer || ""}`, kernel);
    }
    this.cells = cells;
    const longest = Math.max(1e-12, ...this.step.kernels.map((k) => k.seconds ?? 0));
    const boxes = [...cells].map(([id, kernels]) => ({
      id,
      kernels,
      lane: laneOf(kernels[0].phase),
      layer: kernels[0].layer,
      rank: this.step.ranks.get(kernels[0].layer) ?? 0,
      w: BOX.cell,
      h: 26 + kernels.length * (BOX.kernel + 5) + 3,
    }));
    const number = new Map(boxes.flatMap((box, i) => box.kernels.map((k) => [k.index, i])));
    const pairs = new Map();
    for (const kernel of this.step.kernels) {
      for (const reader of kernel.readers) {
        const [a, b] = [number.get(kernel.index), number.get(reader)];
        if (a !== b) pairs.set(`${a}-${b}`, [a, b]);
      }
    }
    const edges = [...pairs.values()];
    const made = drawLanes(boxes, edges, PHASES);
    const items = [];
    for (const box of boxes) {
      items.push({
        id: box.id,
        x: box.x,
        y: box.y,
        w: box.w,
        h: box.h,
        lane: box.lane,
        label: `${box.layer || "no layer"}, ${box.lane}, ${plural(box.kernels.length, "kernel")}`,
        draw: () =>
          s(
            "g.cell",
            { transform: `translate(${box.x} ${box.y})`, style: { "--lane": phaseColour(box.lane) } },
            s("rect", { width: box.w, height: box.h, rx: 7, class: "box" }),
            s("rect", { width: 4, height: 12, x: 9, y: 8, rx: 2, fill: this.model.colour(box.layer) }),
            s("text", { x: 19, y: 18, class: "sub" }, fitted(box.layer || "no layer", BOX.cell - 30, FONTS.sub)),
          ),
      });
      box.kernels.forEach((kernel, i) =>
        items.push(this.kernelItem(kernel, box.x + 6, box.y + 26 + i * (BOX.kernel + 5), longest)),
      );
    }
    this.right.show({
      items,
      bands: made.lanes,
      width: made.width,
      height: made.height,
      edges: edges.map(([a, b], i) => spanning(`${a}-${b}`, boxes[a], boxes[b], made.paths[i])),
    });
  }

  kernelItem(kernel, x, y, longest) {
    const w = BOX.cell - 12;
    return {
      id: kernelId(kernel.index),
      x,
      y,
      w,
      h: BOX.kernel,
      small: true,
      label: kernel.lines.filter(Boolean).join(", "),
      draw: () =>
        s(
          "g",
          { class: `kernel ${kernel.fallback ? "fallback" : ""}`, transform: `translate(${x} ${y})` },
          s("rect", { width: w, height: BOX.kernel, rx: 5, class: "box" }),
          kernel.seconds != null &&
            s("rect", {
              x: 1,
              y: BOX.kernel - 4,
              height: 3,
              rx: 1.5,
              width: Math.max(2, ((w - 2) * kernel.seconds) / longest),
              fill: phaseColour(kernel.phase),
            }),
          s("text", { x: 9, y: 18, class: "number" }, String(kernel.index)),
          s("text", { x: 34, y: 18, class: "title" }, fitted(kernel.name, w - 42, FONTS.title)),
          s(
            "text",
            { x: 34, y: 33, class: "sub" },
            kernel.seconds == null ? flops(kernel.flops) : `${seconds(kernel.seconds)} · ${percent(kernel.share)}`,
          ),
        ),
    };
  }

  // ------------------------------------------------------------ what belongs together

  kernelsOfGroup(group) {
    const found = new Set();
    for (const v of group.values) for (const k of this.step.kernelsOf.get(v.id) || []) found.add(k);
    return found;
  }

  /** What is drawn for a value: itself, or the group that it is hidden in. */
  shown(valueId) {
    const group = this.groupOf.get(valueId);
    return this.open.has(group) ? valueId : group;
  }

  hoverValues(id, at) {
    if (id == null) return this.rest();
    if (this.hovered !== id) {
      const group = this.groups.get(id);
      const values = group ? group.values.map((v) => v.id) : [id];
      const kernels = new Set(values.flatMap((v) => this.step.kernelsOf.get(v) || []));
      const near = values.flatMap((v) => [...(this.stage.byId.get(v)?.operands || []), ...(this.users.get(v) || [])]);
      const inner = new Set(values);
      const around = new Set(near.filter((v) => !inner.has(v) && this.groupOf.has(v)).map((v) => this.shown(v)));
      around.delete(id);
      this.hovered = id;
      this.left.light(new Set([id, ...values, ...around, ...(group ? [] : [this.groupOf.get(id)])]));
      this.right.light(new Set([...kernels].map(kernelId)));
      this.drawNear(this.left, id, around);
      this.setWires([...kernels].map((k) => [id, kernelId(k)]));
    }
    showTip(at, this.linesOf(id));
  }

  hoverKernels(id, at) {
    if (id == null) return this.rest();
    const kernels = this.kernelsAt(id);
    if (this.hovered !== id) {
      this.hovered = id;
      this.lightKernels(kernels, id);
    }
    const [kernel] = kernels;
    showTip(
      at,
      this.cells.has(id)
        ? [
            kernel.layer || "no layer",
            `${plural(kernels.length, "kernel")}, ${kernel.phase}`,
            seconds(total(kernels.map((k) => k.seconds))),
          ]
        : kernel.lines,
    );
  }

  kernelsAt(id) {
    return this.cells.get(id) || [this.step.kernels[Number(id.slice(1))]];
  }

  lightKernels(kernels, id) {
    const shown = new Set(
      kernels
        .flatMap((k) => k.values)
        .filter((v) => this.groupOf.has(v))
        .map((v) => this.shown(v)),
    );
    const around = new Set(
      kernels
        .flatMap((k) => [...k.readers, ...k.operands.map((o) => o.kernel)])
        .filter((k) => k != null && !kernels.some((own) => own.index === k))
        .map(kernelId),
    );
    const resting = this.hovered == null;
    this.left.light(new Set([...shown, ...[...shown].map((v) => this.groupOf.get(v)).filter(Boolean)]), resting);
    this.right.light(new Set([id, ...kernels.map((k) => kernelId(k.index)), ...around]), resting);
    this.drawNear(this.right, id, around);
    this.setWires([...shown].map((v) => [v, id]));
  }

  /** Nothing is pointed at: what was searched for is lit, or the chosen kernel, if there is one. */
  rest() {
    if (this.hovered == null) return;
    this.hovered = null;
    hideTip();
    this.select(this.selected);
  }

  select(index) {
    this.selected = index;
    for (const pane of [this.left, this.right]) pane.over.replaceChildren();
    if (this.marked || index == null) {
      this.left.light(this.marked?.left ?? null, true);
      this.right.light(this.marked?.right ?? null, true);
      this.setWires([]);
    } else this.lightKernels([this.step.kernels[index]], kernelId(index));
  }

  linesOf(id) {
    const group = this.groups.get(id);
    if (group) {
      const ops = [...countOps(group.values)].sort((a, b) => b[1] - a[1]).slice(0, 6);
      return [
        group.layer || "no layer",
        `${group.lane}: ${plural(group.values.length, "value")}`,
        ops.map(([op, n]) => (n > 1 ? `${n} ${op}` : op)).join(", "),
      ];
    }
    const value = this.stage.byId.get(id);
    const kernels = this.step.kernelsOf.get(id) || [];
    return [
      value.text,
      [value.origin || value.layer, value.phase].filter(Boolean).join(" · "),
      kernels.length
        ? `in ${kernels.map((k) => `#${k} ${this.step.kernels[k].name}`).join(", ")}`
        : isLeaf(value)
          ? ""
          : this.stage === this.step.last
            ? "in no kernel"
            : "later passes replaced it",
    ];
  }

  /** Lines from an item to others of its pane. */
  drawNear(pane, id, others) {
    const from = pane.places.get(id);
    pane.over.replaceChildren(
      ...[...others]
        .slice(0, WIRES)
        .map((other) => {
          const to = pane.places.get(other);
          return from && to && s("path", { d: direct(from, to), class: "near" });
        })
        .filter(Boolean),
    );
  }

  setWires(pairs) {
    this.pairs = pairs.slice(0, WIRES);
    this.drawWires();
  }

  /** The lines from values on the left to kernels on the right. */
  drawWires() {
    if (!this.pairs) return;
    const base = this.element.getBoundingClientRect();
    const place = (pane, id) => {
      const box = pane.rectangle(id);
      const frame = pane.element.getBoundingClientRect();
      return (
        box && {
          x: clamp(box.x, 0, frame.width) + frame.left - base.left,
          end: clamp(box.x + box.w, 0, frame.width) + frame.left - base.left,
          y: clamp(box.y + Math.min(box.h / 2, 19), 2, frame.height - 2) + frame.top - base.top,
        }
      );
    };
    this.wires.replaceChildren(
      ...this.pairs
        .map(([v, k]) => {
          const [a, b] = [place(this.left, v), place(this.right, k)];
          if (!a || !b) return null;
          const bend = Math.max(40, (b.x - a.end) / 2);
          return s("path", { d: `M${a.end} ${a.y}C${a.end + bend} ${a.y} ${b.x - bend} ${b.y} ${b.x} ${b.y}` });
        })
        .filter(Boolean),
    );
  }

  /** Draws at once, for paper. */
  settle() {
    for (const pane of [this.left, this.right]) {
      pane.resize();
      pane.draw();
    }
  }

  // ------------------------------------------------------------ opening

  openLeft(id) {
    if (id == null) return this.unmark();
    if (this.groups.has(id)) return this.toggle(id);
    const [kernel] = this.step.kernelsOf.get(id) || [];
    if (kernel != null) this.app.openKernel(kernel);
  }

  openRight(id) {
    if (id == null) return this.unmark();
    if (!this.cells.has(id)) this.app.openKernel(Number(id.slice(1)));
  }

  unmark() {
    this.marked = null;
    this.select(this.selected);
  }

  /** A kernel was chosen somewhere: light it and bring it into sight. */
  chosen(index) {
    this.marked = null;
    this.select(index);
    if (index == null) return;
    const kernel = this.step.kernels[index];
    this.right.reveal(kernelId(index));
    const value =
      kernel.values.findLast((v) => this.groupOf.get(v)?.endsWith(`:${kernel.layer}`)) ?? kernel.values[0];
    if (this.groupOf.has(value)) this.left.reveal(this.shown(value));
  }

  /** Shows what a search found: {layer}, {value} or {op}. */
  find({ layer, value, op, stage }) {
    if (stage && stage !== this.stage.name) this.setStage(stage);
    if (op != null) {
      const found = this.stage.values.filter((v) => v.op === op).map((v) => v.id);
      for (const id of found.slice(0, 10 * FEW)) this.open.add(this.groupOf.get(id));
      this.layOut();
      this.marked = {
        left: new Set([...found, ...found.map((id) => this.groupOf.get(id))]),
        right: new Set(found.flatMap((id) => this.step.kernelsOf.get(id) || []).map(kernelId)),
      };
      this.select(this.selected);
      if (found.length) this.left.reveal(found[0]);
      return;
    }
    const group =
      layer != null ? [...this.groups.values()].find((g) => g.layer === layer)?.id : this.groupOf.get(value);
    if (!group) return;
    if (!this.open.has(group)) this.toggle(group);
    const cell = layer != null && [...this.cells].find(([, kernels]) => kernels[0].layer === layer)?.[0];
    this.left.svg.focus({ preventScroll: true });
    this.left.setCurrent(layer != null ? group : value);
    if (cell) this.right.reveal(cell);
  }
}

/** The pairs of groups of which the second reads values of the first, as numbers in the order of the groups. */
function linksBetween(groups, groupOf, values) {
  const number = new Map([...groups.keys()].map((id, i) => [id, i]));
  const links = new Map();
  const sources = sourcesIn(values);
  for (const v of values) {
    const to = number.get(groupOf.get(v.id));
    for (const o of sources(v)) {
      const from = number.get(groupOf.get(o));
      if (from != null && from !== to) links.set(from * groups.size + to, [from, to]);
    }
  }
  return [...links.values()];
}

const isLeaf = (value) => value.phase === "input" || value.phase === "state";
const kernelId = (index) => `k${index}`;

/** The type without what the width of a box has no room for. */
const shortType = (value) => value.type.replaceAll(" ", "");

/** An edge between two boxes as an item of a pane. */
function spanning(id, a, b, path) {
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  return { id, x, y, w: Math.max(a.x + a.w, b.x + b.w) - x + 90, h: Math.max(a.y + a.h, b.y + b.h) - y, path };
}

/** A line between two boxes, wherever they are. */
function direct(a, b) {
  const overlap = a.x < b.x + b.w && b.x < a.x + a.w;
  if (!overlap) return sideways(a, b);
  const [upper, lower] = a.y < b.y ? [a, b] : [b, a];
  if (upper.y + upper.h <= lower.y) {
    return smooth([
      [upper.x + upper.w / 2, upper.y + upper.h],
      [lower.x + lower.w / 2, lower.y],
    ]);
  }
  return sideways(a, b);
}
