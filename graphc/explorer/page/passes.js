// ---------------------------------------------------------------- the passes: what each of them changed

const LISTED = 200; // changes that are shown at a time

class PassesView {
  constructor(model, step) {
    this.step = step;
    this.passes = step.stages.map((stage, i) => {
      const before = step.stages[i - 1];
      return { stage, before, change: before ? difference(before, stage) : { added: [], removed: [], rewired: [] } };
    });
    this.buttons = h("ol.passes");
    this.body = h("div.columns.even");
    this.element = h("section.passview", { "aria-label": "Passes" }, this.buttons, this.body);
    const changes = ({ change }) => change.added.length + change.removed.length;
    this.choose(this.passes.reduce((a, b) => (changes(b) > changes(a) ? b : a)));
  }

  choose(pass) {
    this.current = pass;
    const focused = this.buttons.contains(document.activeElement);
    const most = Math.max(...this.passes.map((p) => p.stage.values.length), 1);
    const { fusing } = this.step;
    const longest = Math.max(fusing ?? 0, ...this.passes.map((p) => p.stage.seconds ?? 0)) || 1;
    this.buttons.replaceChildren(
      ...this.passes.map((p) => h("li", this.button(p, most, longest))),
      h(
        "li",
        h(
          "div.pass.final",
          h("b", "fuse + plan"),
          h("span.values", String(this.step.kernels.length)),
          h("span.muted.small", "kernels"),
          h(
            "span.muted.small.time",
            seconds(fusing),
            h("i", { style: { width: `${(100 * (fusing ?? 0)) / longest}%` } }),
          ),
        ),
      ),
    );
    if (focused) this.buttons.querySelector("[aria-pressed=true]").focus();
    this.body.replaceChildren(this.operations(pass), this.changes(pass));
  }

  button(pass, most, longest) {
    const { stage, change } = pass;
    const { length } = stage.values;
    return h(
      "button",
      {
        type: "button",
        class: "pass",
        "aria-pressed": String(pass === this.current),
        click: () => this.choose(pass),
      },
      h("b", stage.name),
      h("span.column", h("i", { style: { height: `${(100 * length) / most}%` } })),
      h("span.values", whole(length)),
      h(
        "span.small",
        change.added.length || change.removed.length
          ? [h("span.plus", `+${change.added.length}`), " ", h("span.minus", `−${change.removed.length}`)]
          : h("span.muted", pass.before ? "unchanged" : "as traced"),
      ),
      h(
        "span.muted.small.time",
        pass.before ? seconds(stage.seconds) : "",
        h("i", { style: { width: `${(100 * (pass.before ? (stage.seconds ?? 0) : 0)) / longest}%` } }),
      ),
    );
  }

  /** What was added and removed, by op, and the rules that fired. */
  operations({ stage, change, before }) {
    const [added, removed] = [countOps(change.added), countOps(change.removed)];
    const ops = [...new Set([...added.keys(), ...removed.keys()])]
      .map((op) => ({ op, added: added.get(op) || 0, removed: removed.get(op) || 0 }))
      .sort((a, b) => b.added + b.removed - a.added - a.removed || a.op.localeCompare(b.op));
    const most = Math.max(...ops.map((o) => Math.max(o.added, o.removed)), 1);
    const bar = (count, kind) =>
      h(
        "td",
        { class: kind },
        h("i", { style: { width: `${(100 * count) / most}%` } }),
        h("span", count ? `${kind === "plus" ? "+" : "−"}${count}` : ""),
      );
    const rules = Object.entries(stage.rules || {}).sort((a, b) => b[1] - a[1]);
    const counts = before ? countOps(stage.values) : null;
    return h(
      "div.stacked",
      h(
        "section.card",
        h(
          "div.bar",
          h("h2", "By op"),
          h(
            "span.muted",
            before
              ? `${whole(before.values.length)} → ${plural(stage.values.length, "value")}`
              : plural(stage.values.length, "value"),
          ),
        ),
        ops.length
          ? h(
              "table.diverging",
              h(
                "thead",
                h(
                  "tr",
                  h("th", { scope: "col" }, "Op"),
                  h("th", { scope: "col", class: "number" }, "Removed"),
                  h("th", { scope: "col" }, "Added"),
                  h("th", { scope: "col", class: "number" }, "Now"),
                ),
              ),
              h(
                "tbody",
                ops.map((o) =>
                  h(
                    "tr",
                    h("th", { scope: "row", class: "mono" }, o.op),
                    bar(o.removed, "minus"),
                    bar(o.added, "plus"),
                    h("td.number.muted", String(counts?.get(o.op) ?? 0)),
                  ),
                ),
              ),
            )
          : this.inventory(stage, before),
      ),
      h(
        "section.card",
        h(
          "div.bar",
          h("h2", "Rules fired"),
          h("span.muted", rules.length ? plural(sum(rules.map((r) => r[1])), "time") : ""),
        ),
        rules.length
          ? h(
              "table.plain",
              h(
                "tbody",
                rules.map(([name, count]) =>
                  h("tr", h("th", { scope: "row", class: "mono" }, name), h("td.number", whole(count))),
                ),
              ),
            )
          : h("p.empty", "None."),
      ),
    );
  }

  /** The ops of a stage that changed nothing. */
  inventory(stage, before) {
    const counts = [...countOps(stage.values)].sort((a, b) => b[1] - a[1]);
    return [
      h("p.empty", before ? "This pass left the graph as it was." : "The graph as the model's layers wrote it down."),
      h(
        "p.chips",
        counts.map(([op, count]) => h("span.chip", op, h("b", String(count)))),
      ),
    ];
  }

  /** The list of changes, by layer. */
  changes({ change, before }) {
    const entries = [...change.removed.map((v) => ["minus", v]), ...change.added.map((v) => ["plus", v])];
    const layers = new Map();
    for (const entry of entries) push(layers, entry[1].origin || entry[1].layer || "no layer", entry);
    const flat = [...layers].flatMap(([layer, list]) => [[null, layer, list.length], ...list]);
    const list = h("div.diff", { tabindex: "0", "aria-label": "Changes" });
    const more = h("button", { type: "button", click: () => extend() });
    let shown = 0;
    const extend = () => {
      list.append(
        ...flat
          .slice(shown, shown + LISTED)
          .map(([kind, what, count]) =>
            kind == null
              ? h("h3", what, h("span.muted", ` ${count}`))
              : h("div", { class: kind }, kind === "plus" ? "+ " : "− ", coloured(what.text, "graph")),
          ),
      );
      shown += LISTED;
      more.hidden = shown >= flat.length;
      more.textContent = `Show ${Math.min(LISTED, flat.length - shown)} of ${flat.length - shown} more`;
    };
    extend();
    return h(
      "section.card.grow",
      h(
        "div.bar",
        h("h2", "Changes"),
        h(
          "span.muted",
          change.rewired.length ? `${plural(change.rewired.length, "more value")} only read other operands` : "",
        ),
      ),
      entries.length ? list : h("p.empty", before ? "No value was added or removed." : "This is where it begins."),
      more,
    );
  }
}
