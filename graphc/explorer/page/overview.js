// ---------------------------------------------------------------- the model's layers, and where the time goes

/** The seconds and kernels of each layer, split by phase; what belongs to no layer of the model follows it. */
function layerTimes(model, step) {
  const rows = new Map(
    model.layers.map((layer) => [layer.name, { path: layer.name, layer, kernels: [], times: {} }]),
  );
  for (const kernel of step.kernels) {
    const path = model.owner(kernel.layer) ?? (kernel.layer || "");
    if (!rows.has(path)) rows.set(path, { path, layer: null, kernels: [], times: {} });
    const row = rows.get(path);
    const phase = laneOf(kernel.phase);
    row.kernels.push(kernel);
    if (kernel.seconds != null) row.times[phase] = (row.times[phase] || 0) + kernel.seconds;
  }
  for (const row of rows.values()) row.seconds = total(Object.values(row.times));
  return [...rows.values()];
}

/** A row of the table of layers; `longest` is the time that fills the width of its bar. */
function layerRow(model, step, app, row, phases, longest) {
  const { layer, kernels, times } = row;
  const spoken = phases.map((phase) => `${phase} ${seconds(times[phase])}`).join(", ");
  const parts = phases
    .filter((phase) => times[phase])
    .map((phase) =>
      h("i", {
        title: `${phase}: ${seconds(times[phase])}`,
        style: { background: phaseColour(phase), width: `${(100 * times[phase]) / longest}%` },
      }),
    );
  return h(
    "tr",
    { class: layer ? null : "other" },
    h(
      "th",
      { scope: "row" },
      swatch(model.colour(row.path)),
      h("button.link", { type: "button", click: () => app.find({ layer: row.path }) }, row.path || "no layer"),
    ),
    h("td", layer?.type ?? "", layer?.activation ? h("span.muted", ` ${layer.activation}`) : ""),
    h("td.mono", layer?.output ?? ""),
    h("td.number", layer ? whole(layer.parameters) : ""),
    h("td.number", kernels.length ? String(kernels.length) : ""),
    h("td.number", kernels.length ? seconds(row.seconds) : ""),
    h("td.number", kernels.length ? percent(ratio(row.seconds, step.duration)) : ""),
    h("td.wide", h("div.stack", { role: "img", "aria-label": spoken }, parts)),
  );
}

function layerTable(model, step, app, phases) {
  const rows = layerTimes(model, step);
  const longest = Math.max(...rows.map((row) => row.seconds ?? 0)) || 1;
  const parameters = sum(model.layers.map((layer) => layer.parameters || 0));
  const head = (text, number) => h("th", { scope: "col", class: number ? "number" : null }, text);
  return h(
    "section.card",
    h(
      "div.bar",
      h("h2", "Layers"),
      h("span.muted", `${plural(model.layers.length, "layer")}, ${whole(parameters)} parameters`),
      h("span.push"),
      phases.map((phase) => h("span.key", swatch(phaseColour(phase)), phase)),
    ),
    h(
      "div.scroll",
      h(
        "table.layers",
        h(
          "thead",
          h(
            "tr",
            head("Layer"),
            head("Type"),
            head("Output"),
            head("Parameters", true),
            head("Kernels", true),
            head("Time", true),
            head("Share", true),
            head("Time by phase"),
          ),
        ),
        h(
          "tbody",
          rows.map((row) => layerRow(model, step, app, row, phases, longest)),
        ),
      ),
    ),
  );
}

function overviewView(model, step, app) {
  const phases = PHASES.filter((phase) => step.kernels.some((kernel) => kernel.phase === phase));
  return {
    element: h(
      "div.columns.split",
      h(
        "div.stacked.grow",
        layerTable(model, step, app, phases),
        h("div.columns.even", phaseCard(step, phases), machineCard(model, step)),
      ),
      h("div.side", hottest(step, app)),
    ),
  };
}

/** The kernels that take longest. */
function hottest(step, app) {
  const measured = step.kernels.filter((k) => k.seconds != null);
  const top = (
    measured.length
      ? measured.toSorted((a, b) => b.seconds - a.seconds)
      : step.kernels.toSorted((a, b) => b.flops - a.flops)
  ).slice(0, 10);
  const figure = (k) => (measured.length ? k.seconds : k.flops);
  const most = Math.max(...top.map(figure), 1e-12);
  return h(
    "section.card",
    h("div.bar", h("h2", measured.length ? "Slowest kernels" : "Largest kernels")),
    h(
      "ol.hot",
      top.map((kernel) =>
        h(
          "li",
          h(
            "a",
            {
              href: app.hash({ view: "kernels", kernel: kernel.index }),
              title: kernel.lines.filter(Boolean).join("\n"),
            },
            h(
              "span.row",
              h("span.index", `#${kernel.index}`),
              h("span.name", kernel.name),
              h("span.figure", measured.length ? seconds(kernel.seconds) : flops(kernel.flops)),
            ),
            h(
              "span.stack",
              h("i", {
                style: { width: `${(100 * figure(kernel)) / most}%`, background: phaseColour(kernel.phase) },
              }),
            ),
            h(
              "span.row.muted.small",
              h("span.name", kernel.layer || kernel.origin || "no layer"),
              h("span", kernel.part == null ? "" : `${percent(kernel.part)} of the roofline`),
            ),
          ),
        ),
      ),
    ),
  );
}

/** How the step's time divides among the phases. */
function phaseCard(step, phases) {
  const parts = phases.map((phase) => {
    const kernels = step.kernels.filter((k) => k.phase === phase);
    return { phase, kernels, time: total(kernels.map((k) => k.seconds)), flops: total(kernels.map((k) => k.flops)) };
  });
  const whole = total(parts.map((p) => p.time));
  return h(
    "section.card",
    h("div.bar", h("h2", "Phases")),
    whole != null &&
      h(
        "div.stack.tall",
        parts.map((p) =>
          h("i", {
            title: p.phase,
            style: { background: phaseColour(p.phase), width: `${(100 * (p.time ?? 0)) / whole}%` },
          }),
        ),
      ),
    h(
      "table.plain",
      h(
        "tbody",
        parts.map((p) =>
          h(
            "tr",
            h("th", { scope: "row" }, swatch(phaseColour(p.phase)), p.phase),
            h("td.number", plural(p.kernels.length, "kernel")),
            h("td.number", flops(p.flops)),
            h("td.number", seconds(p.time)),
          ),
        ),
      ),
    ),
  );
}

function machineCard(model, step) {
  const { machine } = model.data;
  const largest = model.bandwidths.at(-1);
  const facts = [
    ["CPU", machine.cpu],
    ["Vectors", machine.vector_bits && `${machine.vector_bits} bits, ${machine.registers} registers`],
    ["Threads", machine.threads],
    ["Peak", model.peak == null ? NONE : flopRate(model.peak)],
    ["Memory", largest ? byteRate(largest.rate) : NONE],
    ["LLVM", machine.llvm],
    ["Target", machine.triple],
    [
      "Sizes",
      Object.entries(step.sizes)
        .map(([name, size]) => `${name} = ${size}`)
        .join(", "),
    ],
    ["Weights", bytes(step.plan.weights)],
  ];
  return h(
    "section.card",
    h("div.bar", h("h2", "Machine and sizes")),
    h(
      "dl",
      facts.map(([name, fact]) => [h("dt", name), h("dd", fact == null || fact === "" ? NONE : String(fact))]),
    ),
  );
}
