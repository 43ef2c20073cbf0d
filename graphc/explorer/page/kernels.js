// ---------------------------------------------------------------- the list of kernels, and one kernel with its code

const COLUMNS = [
  { name: "#", key: (k) => k.index, up: true },
  { name: "Kernel", key: (k) => k.name, up: true, text: true },
  { name: "Layer", key: (k) => k.layer || k.origin || "", up: true, text: true },
  { name: "Phase", key: (k) => k.phase || "", up: true, text: true },
  { name: "FLOPs", key: (k) => k.flops, show: (k) => quantity(k.flops, "") },
  { name: "Bytes", key: (k) => k.bytes, show: (k) => bytes(k.bytes) },
  { name: "Time", key: (k) => k.seconds, show: (k) => seconds(k.seconds) },
  { name: "Share", key: (k) => k.share, show: (k) => percent(k.share) },
  { name: "GFLOP/s", key: (k) => k.rate, show: (k) => giga(k.rate) },
  { name: "GB/s", key: (k) => k.traffic, show: (k) => giga(k.traffic) },
  { name: "Roofline", key: (k) => k.part, show: (k) => percent(k.part) },
];

const giga = (x) => (x == null ? NONE : (x / 1e9).toFixed(x < 9.95e9 ? 2 : x < 99.5e9 ? 1 : 0));

class KernelsView {
  constructor(model, step, app) {
    Object.assign(this, { model, step, app });
    this.sort = { column: step.kernels.some((k) => k.seconds != null) ? 6 : 0, down: true };
    if (this.sort.column === 0) this.sort.down = false;
    this.most = Math.max(...step.kernels.map((k) => k.share ?? 0)) || 1;
    this.head = h("thead");
    this.body = h("tbody");
    this.filter = h("input", {
      type: "search",
      placeholder: "Filter by name, layer or phase",
      "aria-label": "Filter kernels",
      input: () => this.draw(),
    });
    this.counts = h("span.muted");
    this.rows = new Map(step.kernels.map((kernel) => [kernel.index, this.row(kernel)]));
    this.element = h(
      "section.card.fill",
      { "aria-label": "Kernels" },
      h("div.bar", h("h2", "Kernels"), this.counts, h("span.push"), this.filter),
      h("div.scroll", h("table.kernels", this.head, this.body)),
    );
    this.draw();
  }

  row(kernel) {
    const limit = kernel.limit;
    return h(
      "tr",
      { click: (event) => !event.target.closest("a") && this.app.openKernel(kernel.index) },
      COLUMNS.map((column) => {
        if (column.name === "Kernel")
          return h(
            "th",
            { scope: "row" },
            h("a", { href: this.app.hash({ view: "kernels", kernel: kernel.index }) }, kernel.name),
            kernel.fallback ? h("span.warning", { title: kernel.fallback }, "NumPy") : "",
          );
        if (column.name === "Layer")
          return h("td", swatch(this.model.colour(kernel.layer)), shortened(column.key(kernel) || NONE, 34));
        if (column.name === "Phase") return h("td", swatch(phaseColour(kernel.phase)), kernel.phase || NONE);
        if (column.name === "Share")
          return h(
            "td.number.meter",
            h("i", {
              style: {
                width: `${(60 * (kernel.share ?? 0)) / this.most}px`,
                background: phaseColour(kernel.phase),
              },
            }),
            h("span", percent(kernel.share)),
          );
        if (column.name === "Roofline")
          return h(
            "td.number",
            { title: limit ? `bound by ${limit.by}` : null },
            kernel.part == null
              ? NONE
              : [percent(kernel.part), h("span", { class: `bound ${limit.by}` }, limit.by === "memory" ? "M" : "C")],
          );
        return h("td.number", column.show ? column.show(kernel) : String(kernel.index));
      }),
    );
  }

  order(column) {
    const same = this.sort.column === column;
    this.sort = { column, down: same ? !this.sort.down : !COLUMNS[column].up };
    this.draw();
    this.head.querySelectorAll("button")[column].focus();
  }

  draw() {
    const { column, down } = this.sort;
    this.head.replaceChildren(
      h(
        "tr",
        COLUMNS.map((c, i) =>
          h(
            "th",
            {
              scope: "col",
              class: c.text ? "" : "number",
              "aria-sort": i === column ? (down ? "descending" : "ascending") : null,
            },
            h(
              "button",
              { type: "button", click: () => this.order(i) },
              c.name,
              h("span.arrow", { "aria-hidden": "true" }, i === column ? (down ? "▾" : "▴") : ""),
            ),
          ),
        ),
      ),
    );
    const wanted = this.filter.value.trim().toLowerCase();
    const { key } = COLUMNS[column];
    const found = this.step.kernels.filter((k) =>
      `${k.name} ${k.layers.join(" ")} ${k.origin} ${k.phase}`.toLowerCase().includes(wanted),
    );
    found.sort((a, b) => (down ? -1 : 1) * compared(key(a), key(b)) || a.index - b.index);
    this.body.replaceChildren(...found.map((kernel) => this.rows.get(kernel.index)));
    this.counts.textContent =
      found.length === this.step.kernels.length
        ? String(found.length)
        : `${found.length} of ${this.step.kernels.length}`;
  }

  chosen(index) {
    for (const [number, row] of this.rows) row.classList.toggle("chosen", number === index);
    this.rows.get(index)?.scrollIntoView({ block: "nearest" });
  }
}

/** Numbers by size, texts by the alphabet, what was not measured below both. */
function compared(a, b) {
  if (a == null || b == null) return (a != null) - (b != null);
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

// ---------------------------------------------------------------- one kernel

const TABS = {
  values: "Values",
  loops: "Loops",
  llvm: "LLVM IR",
  assembly: "Assembly",
};

/** What fills the panel beside the view for one kernel. */
class Detail {
  constructor(app, element) {
    Object.assign(this, { app, element });
    this.tab = "values";
  }

  show(model, step, index) {
    Object.assign(this, { model, step });
    this.kernel = step.kernels[index];
    const focused = this.element.contains(document.activeElement) && document.activeElement.dataset.keep;
    const { kernel } = this;
    const button = (keep, label, text, click, disabled = false) =>
      h(
        "button",
        { type: "button", class: "icon", title: label, "aria-label": label, "data-keep": keep, click, disabled },
        text,
      );
    this.body = h("div.body");
    this.element.replaceChildren(
      h(
        "div.top",
        h(
          "div.bar",
          h("span.index", `#${kernel.index}`),
          h("h2", { title: kernel.name }, kernel.name),
          h("span.push"),
          button("back", "Previous kernel (k)", "‹", () => this.app.openKernel(index - 1), index === 0),
          button(
            "on",
            "Next kernel (j)",
            "›",
            () => this.app.openKernel(index + 1),
            index === step.kernels.length - 1,
          ),
          button("wide", "Wide or narrow (w)", "⇔", () => this.app.widen()),
          button("close", "Close (Esc)", "×", () => this.app.openKernel(null)),
        ),
        h(
          "div.bar.chips",
          (kernel.layers.length ? kernel.layers : [kernel.layer || "no layer"]).map((layer) =>
            h("span.chip", swatch(model.colour(layer)), layer || "no layer"),
          ),
          h("span.chip", swatch(phaseColour(kernel.phase)), kernel.phase),
          kernel.fallback && h("span.warning", "runs on NumPy"),
        ),
        kernel.fallback && h("p.note", kernel.fallback),
        this.figures(),
        h(
          "div.tabs",
          { role: "tablist" },
          Object.entries(TABS).map(([name, title]) =>
            h(
              "button",
              {
                type: "button",
                role: "tab",
                "data-keep": name,
                "aria-selected": String(name === this.tab),
                click: () => this.choose(name),
              },
              title,
            ),
          ),
        ),
      ),
      this.body,
    );
    this.fillBody();
    if (focused) this.element.querySelector(`[data-keep=${focused}]`)?.focus();
  }

  choose(tab) {
    this.tab = tab;
    for (const button of this.element.querySelectorAll("[role=tab]")) {
      button.setAttribute("aria-selected", String(button.dataset.keep === tab));
    }
    this.fillBody();
  }

  figures() {
    const { kernel } = this;
    const figures = [
      ["time", seconds(kernel.seconds)],
      ["share", percent(kernel.share)],
      ["wait", seconds(kernel.wait)],
      ["FLOPs", quantity(kernel.flops, "")],
      ["bytes", bytes(kernel.bytes)],
      ["GFLOP/s", giga(kernel.rate)],
      ["GB/s", giga(kernel.traffic)],
      ["FLOP/byte", kernel.intensity == null ? NONE : kernel.intensity.toPrecision(2)],
    ];
    return [
      h(
        "div.figures",
        figures.map(([name, figure]) => h("div", h("b", figure), h("span", name))),
      ),
      kernel.part != null &&
        h(
          "div.roof",
          h(
            "div.stack",
            h("i", {
              style: { width: `${Math.min(100, 100 * kernel.part)}%`, background: phaseColour(kernel.phase) },
            }),
          ),
          h("span", `${percent(kernel.part)} of the roofline, bound by ${kernel.limit.by}`),
        ),
    ];
  }

  fillBody() {
    const { kernel } = this;
    const content = {
      values: () => [this.flow(), this.values(), codeBlock("As a graph", kernel.body, "graph")],
      loops: () =>
        h(
          "div.pair",
          codeBlock("Before scheduling", kernel.loops, "loops"),
          codeBlock("Scheduled", kernel.schedule, "loops"),
        ),
      llvm: () =>
        h("div.pair", codeBlock("Emitted", kernel.llvm, "llvm"), codeBlock("Optimised", kernel.optimised, "llvm")),
      assembly: () => codeBlock("Assembly", kernel.assembly, "assembly"),
    }[this.tab]();
    this.body.replaceChildren(...[content].flat());
    this.body.scrollTop = 0;
  }

  /** What the kernel reads and from where, what it writes and who reads that. */
  flow() {
    const { kernel, step } = this;
    const link = (index) =>
      h("a", { href: this.app.hash({ kernel: index }) }, `#${index} ${step.kernels[index].name}`);
    return h(
      "section",
      h(
        "table.flow",
        h(
          "tbody",
          kernel.operands.map((o) =>
            h(
              "tr",
              h("td.muted", "reads"),
              h("th", { scope: "row", class: "mono" }, o.name),
              h("td.mono", o.type),
              h("td", o.kernel == null ? h("span.muted", "input or state") : link(o.kernel)),
            ),
          ),
          kernel.results.map((type, i) =>
            h(
              "tr",
              h("td.muted", "writes"),
              h("th", { scope: "row", class: "mono" }, `r${i}`),
              h("td.mono", type),
              h("td.free", i ? "" : readersOf(kernel, link)),
            ),
          ),
        ),
      ),
    );
  }

  values() {
    const { kernel, step } = this;
    const values = kernel.values.map((id) => step.last.byId.get(id)).filter(Boolean);
    return h(
      "section",
      h("div.bar", h("h3", "Values that it computes"), h("span.muted", String(values.length))),
      h(
        "ul.values",
        values.map((v) =>
          h(
            "li",
            swatch(this.model.colour(v.layer)),
            h(
              "button",
              {
                type: "button",
                title: `${v.origin || "no layer"}: show it in the graph`,
                click: () => this.app.find({ value: v.id, stage: step.last.name }),
              },
              coloured(v.text, "graph"),
            ),
          ),
        ),
      ),
    );
  }
}

function readersOf(kernel, link) {
  const readers = [...kernel.readers];
  if (!readers.length) return h("span.muted", "output or state");
  return [
    "read by ",
    readers.slice(0, 8).flatMap((r, i) => (i ? [", ", link(r)] : [link(r)])),
    readers.length > 8 ? ` and ${readers.length - 8} more` : "",
  ];
}
