// ---------------------------------------------------------------- the arena: which buffer lies where, and when

class MemoryView {
  constructor(model, step, app) {
    Object.assign(this, { model, step, app });
    this.picture = h("div.picture");
    const { buffers, arena } = step.plan;
    this.live = step.kernels.map((_, i) =>
      sum(buffers.filter((b) => b.first <= i && i <= b.last).map((b) => b.size)),
    );
    this.peak = Math.max(0, ...this.live);
    const facts = [
      ["Arena", bytes(arena)],
      ["Live at most", bytes(this.peak)],
      ["Filled then", percent(ratio(this.peak, arena))],
      ["Buffers", whole(buffers.length)],
      ["Without sharing", bytes(sum(buffers.map((b) => b.size)))],
    ];
    this.element = h(
      "section.memory",
      { "aria-label": "Memory" },
      h(
        "section.card",
        h(
          "div.bar",
          h("h2", "The arena over the step"),
          h("span.push"),
          facts.map(([name, fact]) => h("span.fact", name, h("b", fact))),
        ),
        this.picture,
        legend(model),
      ),
      h(
        "div.columns.even",
        this.largest(),
        h(
          "section.card",
          h("details", h("summary", h("h2", "The plan as text")), codeBlock("plan", step.plan.text, "graph")),
        ),
      ),
    );
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  draw() {
    const { clientWidth: width } = this.picture;
    if (!width || width === this.width) return;
    this.width = width;
    const height = clamp(innerHeight - 330, 260, 620);
    const { step, model } = this;
    const { buffers, arena } = step.plan;
    const strip = { y: 18, h: 40 };
    const area = { x: 66, y: 74, w: width - 82, h: height - 110 };
    const count = Math.max(step.kernels.length, 1);
    const x = (k) => area.x + (area.w * Math.min(k, count)) / count;
    const y = (b) => area.y + area.h - (area.h * b) / (arena || 1);
    const svg = s("svg", {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      class: "chart",
      role: "application",
      "aria-label":
        "Buffers of the arena. Arrow keys move from one to the next, Enter opens the kernel that writes it.",
    });
    for (const tick of ticks(arena, 5)) {
      svg.append(
        s("line", { x1: area.x, x2: area.x + area.w, y1: y(tick), y2: y(tick), class: "grid" }),
        s("text", { x: area.x - 8, y: y(tick) + 4, class: "tick end" }, bytes(tick).replace(/\.0+ /, " ")),
      );
    }
    for (const tick of ticks(count, Math.min(12, count)).filter(Number.isInteger)) {
      svg.append(s("text", { x: x(tick), y: area.y + area.h + 18, class: "tick" }, String(tick)));
    }
    svg.append(
      s("text", { x: area.x + area.w / 2, y: height - 4, class: "tick axis" }, "kernel, in the order of the plan"),
    );
    const marks = buffers.map((b) => {
      const box = {
        x: x(b.first),
        y: y(b.offset + b.size),
        w: Math.max(x(b.last + 1) - x(b.first), 1.5),
        h: Math.max(y(b.offset) - y(b.offset + b.size), 1),
      };
      const room = box.w - 14;
      const node = s(
        "g.buffer",
        s("rect", {
          x: box.x + 0.5,
          y: box.y,
          width: Math.max(box.w - 1, 1),
          height: box.h,
          rx: Math.min(3, box.h / 3),
          fill: model.colour(b.layer),
        }),
        box.h > 15 &&
          room > 34 &&
          s(
            "text",
            { x: box.x + 7, y: box.y + Math.min(box.h / 2 + 4, 16) },
            fitted(step.kernels[b.kernel]?.name ?? b.name, room, "550 11.5px"),
          ),
        box.h > 34 &&
          room > 50 &&
          s("text", { x: box.x + 7, y: box.y + 31, class: "second" }, fitted(b.type, room, "10.5px", "--mono")),
      );
      svg.append(node);
      return {
        node,
        cx: box.x + Math.min(box.w, 20) / 2,
        cy: box.y + box.h / 2,
        open: () => this.app.openKernel(b.kernel),
        lines: () => bufferLines(b, step),
      };
    });
    const tall = (size) => strip.y + strip.h * (1 - size / (this.peak || 1));
    const stairs = this.live.map((size, i) => `L${x(i)} ${tall(size)}L${x(i + 1)} ${tall(size)}`).join("");
    svg.append(
      s("path", { d: `M${x(0)} ${tall(0)}${stairs}L${x(count)} ${tall(0)}Z`, class: "live" }),
      s("text", { x: area.x - 8, y: strip.y + 8, class: "tick end" }, bytes(this.peak)),
      s("text", { x: area.x - 8, y: strip.y + strip.h, class: "tick end" }, "live"),
    );
    this.cursor = s("rect", {
      y: strip.y,
      height: area.y + area.h - strip.y,
      width: Math.max(area.w / count, 2),
      class: "cursor",
      x: -100,
    });
    svg.append(this.cursor);
    this.x = x;
    walkable(svg, marks);
    this.picture.replaceChildren(svg);
    this.chosen(this.selected);
  }

  settle() {
    this.draw();
  }

  /** The kernel that is chosen, as a bar over the picture. */
  chosen(index) {
    this.selected = index;
    this.cursor?.setAttribute("x", index == null ? -100 : this.x(index));
  }

  largest() {
    const { buffers, arena } = this.step.plan;
    const top = buffers.toSorted((a, b) => b.size - a.size).slice(0, 12);
    return h(
      "section.card.grow",
      h("div.bar", h("h2", "Largest buffers")),
      top.length
        ? h(
            "div.scroll",
            h(
              "table.plain",
              h(
                "thead",
                h(
                  "tr",
                  h("th", { scope: "col" }, "Written by"),
                  h("th", { scope: "col" }, "Type"),
                  h("th", { scope: "col", class: "number" }, "Size"),
                  h("th", { scope: "col", class: "number" }, "Of the arena"),
                  h("th", { scope: "col", class: "number" }, "Live"),
                ),
              ),
              h(
                "tbody",
                top.map((b) =>
                  h(
                    "tr",
                    h(
                      "th",
                      { scope: "row" },
                      swatch(this.model.colour(b.layer)),
                      h(
                        "button",
                        { type: "button", class: "link", click: () => this.app.openKernel(b.kernel) },
                        `#${b.kernel} ${this.step.kernels[b.kernel]?.name ?? ""}`,
                      ),
                    ),
                    h("td.mono", b.type),
                    h("td.number", bytes(b.size)),
                    h("td.number", percent(ratio(b.size, arena))),
                    h("td.number", `${b.first} … ${b.last}`),
                  ),
                ),
              ),
            ),
          )
        : h("p.empty", "No value lies in the arena."),
    );
  }
}

const bufferLines = (b, step) => [
  b.name,
  `${b.type}, ${bytes(b.size)} at ${bytes(b.offset)}`,
  `${b.layer || "no layer"}, written by #${b.kernel} ${step.kernels[b.kernel]?.name ?? ""}`,
  `live from ${b.first} to ${b.last}`,
];

/** Round numbers from 0 to `end`, about `count` of them. */
function ticks(end, count) {
  if (!end) return [0];
  const raw = end / Math.max(count, 1);
  const scale = 10 ** Math.floor(Math.log10(raw));
  const step = scale * [1, 2, 5, 10].find((m) => m * scale >= raw * 0.999);
  return Array.from({ length: Math.floor((end / step) * 1.0001) + 1 }, (_, i) => i * step);
}

/** The colours of layers: each by its name, or the first and the last of many. */
function legend(model) {
  const names = model.layers.map((layer) => layer.name);
  if (names.length <= 16)
    return h(
      "p.legend",
      names.map((name) => h("span.key", swatch(model.colour(name)), name)),
      h("span.key", swatch("var(--neutral)"), "other"),
    );
  const stops = Array.from({ length: 24 }, (_, i) => model.colour(names[Math.round((i * (names.length - 1)) / 23)]));
  return h(
    "p.legend",
    names[0],
    h("i.ramp", { style: { background: `linear-gradient(90deg, ${stops.join(", ")})` } }),
    names.at(-1),
    h("span.key", swatch("var(--neutral)"), "other"),
  );
}
