// ---------------------------------------------------------------- the page: header, views, addresses, keys

const VIEWS = {
  overview: ["Overview", (model, step, app) => overviewView(model, step, app)],
  graph: ["Graph", (model, step, app) => new GraphView(model, step, app)],
  passes: ["Passes", (model, step) => new PassesView(model, step)],
  memory: ["Memory", (model, step, app) => new MemoryView(model, step, app)],
  kernels: ["Kernels", (model, step, app) => new KernelsView(model, step, app)],
  roofline: ["Roofline", (model, step, app) => new RooflineView(model, step, app)],
};
const SCHEMES = {
  "light dark": ["Automatic colours", "◐"],
  light: ["Light colours", "☀"],
  dark: ["Dark colours", "☾"],
};

/** A part of an address as it was before `encodeURIComponent`; what somebody mistyped stays as it is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const KEYS = [
  ["/", "search layers, kernels, ops and values"],
  ["1 … 6", "the views"],
  ["j k", "next and previous kernel"],
  ["w", "wide or narrow kernel panel"],
  ["Esc", "close the kernel"],
  ["← ↑ → ↓", "move in a graph or picture that has the focus"],
  ["Enter", "open what is marked there"],
  ["+ - 0", "zoom a graph in, out, show all of it"],
  ["wheel", "move a graph; with Ctrl zoom it"],
];

/** What is shown is in the address, as #train/kernels/12, so that going back works. */
class App {
  constructor(model) {
    this.model = model;
    this.made = new Map();
    this.place = byId("view");
    this.panel = byId("detail");
    this.detail = new Detail(this, this.panel);
    this.search = new Search(this);
    this.scheme = "light dark";
    this.help = h(
      "dialog",
      { "aria-label": "Keys", click: () => this.help.close() },
      h("h2", "Keys"),
      h(
        "dl",
        KEYS.map(([keys, what]) => [
          h(
            "dt",
            keys.split(" ").map((key) => h("kbd", key)),
          ),
          h("dd", what),
        ]),
      ),
    );
    document.body.append(this.help);
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    this.follow();
  }

  // ------------------------------------------------------------ where we are

  follow() {
    const [kind, view, kernel] = location.hash.slice(1).split("/").map(decoded);
    this.kind = this.model.steps.has(kind) ? kind : [...this.model.steps.keys()][0];
    this.view = Object.hasOwn(VIEWS, view) ? view : "overview";
    this.kernel = kernel && this.step?.kernels[Number(kernel)] ? Number(kernel) : null;
    this.draw();
  }

  get step() {
    return this.model.steps.get(this.kind);
  }

  hash({ kind = this.kind, view = this.view, kernel = this.kernel } = {}) {
    return `#${[kind, view, ...(kernel == null ? [] : [kernel])].map(encodeURIComponent).join("/")}`;
  }

  go(change) {
    const hash = this.hash(change);
    if (location.hash !== hash) location.hash = hash;
  }

  openKernel(kernel) {
    this.go({ kernel });
  }

  widen() {
    document.body.classList.toggle("wide");
  }

  /** Shows a layer, an op or a value in the graph. */
  find(what) {
    document.body.classList.remove("wide");
    this.wanted = what;
    const there = this.view === "graph";
    this.go({ view: "graph" });
    if (there) this.fulfil();
  }

  fulfil() {
    const what = this.wanted;
    this.wanted = null;
    // the pane has its size after the next layout
    if (what) requestAnimationFrame(() => requestAnimationFrame(() => this.shown("graph").find(what)));
  }

  // ------------------------------------------------------------ drawing

  /** A view of the step; it is made when it is first needed. */
  shown(view) {
    const key = `${this.kind}/${view}`;
    if (!this.made.has(key)) this.made.set(key, VIEWS[view][1](this.model, this.step, this));
    return this.made.get(key);
  }

  draw() {
    hideTip();
    if (!this.step) {
      this.place.replaceChildren(h("p.empty", "No step of this model was compiled."));
      return;
    }
    this.drawHeader();
    const made = this.shown(this.view);
    this.place.className = "";
    this.place.dataset.view = this.view;
    if (made.element.parentNode !== this.place) this.place.replaceChildren(made.element);
    const open = this.kernel != null;
    this.panel.hidden = !open;
    document.body.classList.toggle("detailed", open);
    if (open) this.detail.show(this.model, this.step, this.kernel);
    made.chosen?.(this.kernel);
    if (this.view === "graph") this.fulfil();
  }

  drawHeader() {
    const { model, step } = this;
    const { machine } = model.data;
    const header = byId("header");
    const focused = header.contains(document.activeElement) && document.activeElement.getAttribute("href");
    const [schemeTitle, schemeSign] = SCHEMES[this.scheme];
    header.replaceChildren(
      h(
        "div.row",
        h("div.brand", h("span.logo", "graphc"), h("h1", { title: model.title }, model.title)),
        h(
          "nav.steps",
          { "aria-label": "Steps" },
          [...model.steps.keys()].map((kind) =>
            h(
              "a",
              {
                href: this.hash({ kind, kernel: null }),
                "aria-current": kind === this.kind ? "true" : null,
              },
              kind,
            ),
          ),
        ),
        this.search.element,
        h(
          "span.machine.muted",
          { title: machine.triple },
          [
            machine.cpu,
            machine.vector_bits && `${machine.vector_bits} bit`,
            machine.threads && plural(machine.threads, "thread"),
            machine.llvm && `LLVM ${machine.llvm}`,
          ]
            .filter(Boolean)
            .join(" · "),
        ),
        h(
          "button",
          {
            type: "button",
            class: "icon",
            title: `${schemeTitle} (click for others)`,
            "aria-label": schemeTitle,
            click: () => this.recolour(),
          },
          schemeSign,
        ),
        h(
          "button",
          { type: "button", class: "icon", title: "Keys", "aria-label": "Keys", click: () => this.help.showModal() },
          "?",
        ),
      ),
      h(
        "div.row.key-figures",
        this.figures().map(([name, figure, note]) =>
          h("div", h("span", name), h("b", figure), h("small", note || "")),
        ),
      ),
      h(
        "nav.views",
        { "aria-label": "Views" },
        Object.entries(VIEWS).map(([view, [title]]) =>
          h(
            "a",
            {
              href: this.hash({ view }),
              "aria-current": view === this.view ? "page" : null,
            },
            title,
          ),
        ),
        h("span.push"),
        h("span.muted.small.made", `graphc ${model.data.version}, ${model.data.made}`),
      ),
    );
    if (focused)
      [...header.querySelectorAll("a")]
        .find((a) => a.textContent && a.getAttribute("aria-current") && a.getAttribute("href") === focused)
        ?.focus();
  }

  figures() {
    const { step, model } = this;
    const rate = ratio(step.flops, step.duration);
    const fallbacks = step.kernels.filter((k) => k.fallback).length;
    return [
      [
        "Kernels",
        whole(step.kernels.length),
        fallbacks ? `${fallbacks} on NumPy` : `of ${plural(step.last.values.length, "value")}`,
      ],
      ["Operations", flops(step.flops)],
      ["Memory traffic", bytes(step.bytes)],
      ["Arena", bytes(step.plan.arena), `+ ${bytes(step.plan.weights)} weights`],
      [
        "Time",
        seconds(step.duration),
        Object.entries(step.sizes)
          .map(([name, size]) => `${name} = ${size}`)
          .join(", "),
      ],
      ["Speed", flopRate(rate)],
      ["Of the peak", percent(ratio(rate, model.peak)), model.peak == null ? "" : flopRate(model.peak)],
    ];
  }

  recolour() {
    const names = Object.keys(SCHEMES);
    this.scheme = names[(names.indexOf(this.scheme) + 1) % names.length];
    document.documentElement.style.colorScheme = this.scheme;
    this.drawHeader();
    byId("header").querySelector("button.icon").focus();
    for (const made of this.made.values()) for (const pane of [made.left, made.right]) pane?.drawMap();
  }

  // ------------------------------------------------------------ keys and paper

  key(event) {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || this.help.open) return;
    const move = { j: 1, k: -1 }[event.key];
    if (event.key === "?") this.help.showModal();
    else if (event.key === "/") {
      event.preventDefault();
      this.search.input.focus();
      this.search.input.select();
    } else if (event.key === "Escape" && this.kernel != null) {
      document.body.classList.remove("wide");
      this.openKernel(null);
    } else if (event.key === "w" && this.kernel != null) this.widen();
    else if (move && this.step.kernels[(this.kernel ?? -1) + move]) this.openKernel((this.kernel ?? -1) + move);
    else if (/^[1-6]$/.test(event.key)) this.go({ view: Object.keys(VIEWS)[event.key - 1] });
  }

  /** All views of the step one below the other, then again the one that was shown. */
  print(all) {
    document.body.classList.toggle("printing", all);
    if (all) {
      const views = Object.keys(VIEWS).map((view) => this.shown(view));
      this.place.replaceChildren(...views.map((view) => view.element));
      for (const view of views) view.settle?.();
    } else this.place.replaceChildren(this.shown(this.view).element);
  }
}

unpack(byId("data"))
  .then((data) => {
    window.explorer = new App(new Model(data));
  })
  .catch((error) => {
    byId("view").replaceChildren(h("p.empty", `The page could not be drawn: ${error.message}`));
    throw error;
  });
