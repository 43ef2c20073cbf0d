// ---------------------------------------------------------------- search: layers, kernels, ops and values

const HITS = 7; // of each kind

class Search {
  constructor(app) {
    this.app = app;
    this.hits = [];
    this.current = 0;
    this.list = h("ul", { id: "hits", role: "listbox", hidden: true, "aria-label": "Found" });
    this.input = h("input", {
      type: "search",
      placeholder: "Search layers, ops, kernels",
      "aria-label": "Search layers, ops, kernels and values",
      role: "combobox",
      "aria-expanded": "false",
      "aria-controls": "hits",
      autocomplete: "off",
      spellcheck: "false",
      input: () => this.update(),
      focus: () => this.update(),
      blur: () => setTimeout(() => this.close(), 150),
      keydown: (event) => this.key(event),
    });
    this.element = h("div.search", this.input, h("kbd", "/"), this.list);
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }

  update() {
    const text = this.input.value.trim().toLowerCase();
    this.hits = text ? this.find(text) : [];
    this.current = 0;
    this.list.hidden = !text;
    this.input.setAttribute("aria-expanded", String(Boolean(text)));
    let kind = null;
    this.list.replaceChildren(
      ...this.hits.flatMap((hit, i) => {
        const head = hit.kind === kind ? [] : [h("li.kind", { role: "presentation" }, hit.kind)];
        kind = hit.kind;
        return [
          ...head,
          h(
            "li",
            {
              role: "option",
              id: `hit${i}`,
              "aria-selected": String(i === 0),
              mousedown: (event) => event.preventDefault(),
              click: () => this.take(hit),
            },
            hit.colour && swatch(hit.colour),
            h("span.name", hit.title),
            h("span.muted", hit.about),
          ),
        ];
      }),
      ...(this.hits.length || !text ? [] : [h("li.kind", "Nothing found")]),
    );
    this.point();
  }

  point() {
    for (const option of this.list.querySelectorAll("[role=option]")) {
      const chosen = option.id === `hit${this.current}`;
      option.setAttribute("aria-selected", String(chosen));
      if (chosen) option.scrollIntoView({ block: "nearest" });
    }
    if (this.hits.length) this.input.setAttribute("aria-activedescendant", `hit${this.current}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const { length } = this.hits;
      if (length) this.current = (this.current + (event.key === "ArrowDown" ? 1 : length - 1)) % length;
      this.point();
    } else if (event.key === "Enter" && this.hits[this.current]) this.take(this.hits[this.current]);
    else if (event.key === "Escape") {
      event.stopPropagation();
      this.input.value = "";
      this.input.blur();
      this.close();
    }
  }

  take(hit) {
    this.close();
    this.input.blur();
    hit.go();
  }

  /** What matches a text, the names that begin with it first. */
  find(text) {
    const { model, step, app } = this.app;
    const best = (items, name) =>
      items
        .map((item) => [item, name(item).toLowerCase()])
        .filter(([, n]) => n.includes(text))
        .sort(([, a], [, b]) => b.startsWith(text) - a.startsWith(text) || a.length - b.length)
        .slice(0, HITS)
        .map(([item]) => item);
    const counts = countOps(step.last.values);
    const layers = [
      ...new Set([...model.layers.map((l) => l.name), ...step.last.values.map((v) => v.layer).filter(Boolean)]),
    ];
    return [
      ...best(layers, (name) => name).map((name) => ({
        kind: "Layers",
        title: name,
        colour: model.colour(name),
        about: model.layers[model.place.get(name)]?.type ?? "",
        go: () => this.app.find({ layer: name }),
      })),
      ...best(step.kernels, (k) => `${k.name} ${k.layer} #${k.index}`).map((k) => ({
        kind: "Kernels",
        title: `#${k.index} ${k.name}`,
        colour: phaseColour(k.phase),
        about: k.layer,
        go: () => this.app.openKernel(k.index),
      })),
      ...best([...counts.keys()], (op) => op).map((op) => ({
        kind: "Ops",
        title: op,
        about: plural(counts.get(op), "value"),
        go: () => this.app.find({ op, stage: step.last.name }),
      })),
      ...best(step.last.values, (v) => v.text).map((v) => ({
        kind: "Values",
        title: shortened(v.text, 60),
        colour: model.colour(v.layer),
        about: v.layer,
        go: () => this.app.find({ value: v.id, stage: step.last.name }),
      })),
    ];
  }
}
