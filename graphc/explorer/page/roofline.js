// ---------------------------------------------------------------- the roofline: how much of the machine kernels use

class RooflineView {
  constructor(model, step, app) {
    Object.assign(this, { model, step, app });
    this.by = "phase";
    this.picture = h("div.picture.tall");
    this.bar = h("div.bar");
    this.kernels = step.kernels.filter((k) => k.rate > 0 && k.intensity > 0);
    this.element = h("section.card.fill.roofline", { "aria-label": "Roofline" }, this.bar, this.picture);
    this.drawBar();
    new ResizeObserver(() => this.draw()).observe(this.picture);
  }

  drawBar() {
    const { model, step } = this;
    const phases = PHASES.filter((phase) => step.kernels.some((k) => k.phase === phase));
    const left = step.kernels.length - this.kernels.length;
    this.bar.replaceChildren();
    fill(this.bar, {}, [
      h("h2", "Roofline"),
      h(
        "span.muted",
        left && this.kernels.length
          ? `${plural(left, "kernel")} without measured FLOPs ${left === 1 ? "is" : "are"} left out`
          : "area is time",
      ),
      h("span.push"),
      this.by === "phase" ? phases.map((phase) => h("span.key", swatch(phaseColour(phase)), phase)) : legend(model),
      choice(
        "Colour by",
        [
          ["phase", "Phase"],
          ["layer", "Layer"],
        ],
        this.by,
        (by) => {
          this.by = by;
          this.width = 0;
          this.drawBar();
          this.draw();
        },
      ),
    ]);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.picture;
    if (!width || !height || (width === this.width && height === this.height)) return;
    Object.assign(this, { width, height });
    const { model, step, kernels } = this;
    if (!kernels.length || model.peak == null || !model.bandwidths.length) {
      this.picture.replaceChildren(
        h("p.empty", "There is nothing to draw: neither kernels nor machine were measured."),
      );
      return;
    }
    const rates = kernels.map((k) => k.rate);
    const ridge = model.peak / model.bandwidths.at(-1).rate;
    const xs = span([...kernels.map((k) => k.intensity), ridge / 4, ridge * 4]);
    const ys = span([...rates, model.peak * 1.6, model.peak / 100]);
    const area = { x: 96, y: 14, w: width - 118, h: height - 62 };
    const x = (v) => area.x + (area.w * (Math.log10(v) - xs[0])) / (xs[1] - xs[0]);
    const y = (v) => area.y + area.h - (area.h * (Math.log10(v) - ys[0])) / (ys[1] - ys[0]);
    const svg = s(
      "svg",
      {
        width,
        height,
        viewBox: `0 0 ${width} ${height}`,
        class: "chart",
        role: "application",
        "aria-label": "Roofline. Arrow keys move from one kernel to the next, Enter opens it.",
      },
      s("clipPath", { id: "area" }, s("rect", { x: area.x, y: area.y, width: area.w, height: area.h })),
    );
    for (const e of powers(xs))
      svg.append(
        s("line", { x1: x(10 ** e), x2: x(10 ** e), y1: area.y, y2: area.y + area.h, class: "grid" }),
        s("text", { x: x(10 ** e), y: area.y + area.h + 18, class: "tick" }, plainPower(e)),
      );
    for (const e of powers(ys))
      svg.append(
        s("line", { x1: area.x, x2: area.x + area.w, y1: y(10 ** e), y2: y(10 ** e), class: "grid" }),
        s("text", { x: area.x - 8, y: y(10 ** e) + 4, class: "tick end" }, flopRate(10 ** e).replace(/\.0+ /, " ")),
      );
    svg.append(
      s(
        "text",
        { x: area.x + area.w / 2, y: height - 8, class: "tick axis" },
        "operations per byte of memory traffic",
      ),
    );
    const lines = s("g", { "clip-path": "url(#area)" });
    svg.append(lines);
    for (const level of drawnLevels(model.bandwidths)) this.slope(lines, svg, level, { x, y, xs, ys, area });
    const roof = x(model.peak / model.bandwidths[0].rate);
    lines.append(
      s("line", {
        x1: Math.max(roof, area.x),
        x2: area.x + area.w,
        y1: y(model.peak),
        y2: y(model.peak),
        class: "roofline",
      }),
    );
    svg.append(
      s(
        "text",
        { x: area.x + area.w - 6, y: y(model.peak) - 7, class: "tick end strong" },
        `peak ${flopRate(model.peak)}`,
      ),
    );
    const longest = Math.max(...kernels.map((k) => k.seconds));
    const marks = kernels
      .toSorted((a, b) => b.seconds - a.seconds)
      .map((kernel) => {
        const [cx, cy] = [x(kernel.intensity), y(kernel.rate)];
        const node = s("circle", {
          cx,
          cy,
          r: Math.max(3.5, 26 * Math.sqrt(kernel.seconds / longest)),
          class: "dot",
          fill: this.by === "phase" ? phaseColour(kernel.phase) : model.colour(kernel.layer),
          "data-kernel": kernel.index,
        });
        svg.append(node);
        return {
          node,
          cx,
          cy,
          lines: () => [...kernel.lines, `${kernel.intensity.toPrecision(3)} FLOP per byte`],
          open: () => this.app.openKernel(kernel.index),
        };
      });
    for (const kernel of kernels.toSorted((a, b) => b.seconds - a.seconds).slice(0, 5)) {
      svg.append(s("text", { x: x(kernel.intensity), y: y(kernel.rate) + 4, class: "tag" }, `#${kernel.index}`));
    }
    walkable(svg, marks);
    this.picture.replaceChildren(svg);
    this.chosen(this.selected);
  }

  settle() {
    this.draw();
  }

  /** The line that a bandwidth sets, with its name along it. */
  slope(lines, svg, { size, rate, last }, { x, y, xs, ys, area }) {
    const [from, to] = [10 ** xs[0], this.model.peak / rate];
    lines.append(
      s("line", {
        x1: x(from),
        y1: y(from * rate),
        x2: x(to),
        y2: y(to * rate),
        class: last ? "roofline" : "roofline faint",
      }),
    );
    const at = Math.max(from * 1.12, (10 ** ys[0] * 1.3) / rate);
    if (at > to / 3) return;
    const angle = (-Math.atan2(area.h / (ys[1] - ys[0]), area.w / (xs[1] - xs[0])) * 180) / Math.PI;
    svg.append(
      s(
        "text",
        {
          class: last ? "tick start strong" : "tick start",
          transform: `translate(${x(at)} ${y(at * rate) - 6}) rotate(${angle.toFixed(2)})`,
        },
        `${last ? "memory" : `up to ${bytes(size)}`}: ${byteRate(rate)}`,
      ),
    );
  }

  chosen(index) {
    this.selected = index;
    for (const dot of this.picture.querySelectorAll(".dot"))
      dot.classList.toggle("chosen", Number(dot.dataset.kernel) === index);
  }
}

/** The lowest and the highest power of ten around numbers, with room beside them. */
function span(numbers) {
  const logs = numbers.filter((n) => n > 0).map(Math.log10);
  return [Math.min(...logs) - 0.15, Math.max(...logs) + 0.15];
}

const powers = ([low, high]) =>
  Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i);
const plainPower = (e) => (e >= 0 ? `${10 ** e}` : (10 ** e).toFixed(-e));

/** At most four bandwidths whose lines can be told apart, the memory's among them. */
function drawnLevels(levels) {
  const last = levels.at(-1);
  const kept = [{ ...last, last: true }];
  for (const level of levels.slice(0, -1).reverse())
    if (level.rate > kept.at(-1).rate * 1.6 && kept.length < 4) kept.push(level);
  return kept;
}
