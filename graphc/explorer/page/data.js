// ---------------------------------------------------------------- the data, and what follows from them

const PHASES = ["forward", "backward", "update"];

/** The data that the page carries. */
async function unpack(element) {
  const packed = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The phase in whose lane something is drawn, whatever the data call its own. */
const laneOf = (phase) => (PHASES.includes(phase) ? phase : "forward");
const phaseColour = (phase) => (PHASES.includes(phase) ? `var(--${phase})` : "var(--neutral)");

/** The model and its machine. */
class Model {
  constructor(data) {
    this.data = data;
    this.title = data.title;
    this.layers = data.layers;
    this.place = new Map(data.layers.map((layer, i) => [layer.name, i]));
    this.steps = new Map(data.steps.map((step) => [step.kind, new Step(this, step)]));
    this.bandwidths = Object.entries(data.machine.bandwidth || {})
      .map(([size, rate]) => ({ size: Number(size), rate }))
      .filter((b) => b.rate != null)
      .sort((a, b) => a.size - b.size);
  }

  /** The layer of the model that a path names or lies in, or null. */
  owner(path) {
    for (let name = path || ""; name; name = name.slice(0, Math.max(0, name.lastIndexOf("/")))) {
      if (this.place.has(name)) return name;
    }
    return null;
  }

  /** The layers run through the hues in their order; what is no layer is grey. */
  colour(path) {
    const owner = this.owner(path);
    if (owner == null) return "var(--neutral)";
    const hue = 255 - (310 * this.place.get(owner)) / Math.max(this.layers.length, 6);
    return `oklch(var(--mark-light) var(--mark-chroma) ${((hue % 360) + 360).toFixed(1) % 360})`;
  }

  get peak() {
    return this.data.machine.operations;
  }

  /** Bytes per second for a working set of so many bytes: those of the smallest level that holds it. */
  bandwidth(size) {
    const level = this.bandwidths.find((b) => b.size >= size) || this.bandwidths.at(-1);
    return level ? level.rate : null;
  }
}

/** One step: its kernels with what follows from their figures, and which values went into which. */
class Step {
  constructor(model, step) {
    Object.assign(this, step);
    this.model = model;
    this.stages = step.stages.map((stage) => ({ ...stage, byId: new Map(stage.values.map((v) => [v.id, v])) }));
    this.last = this.stages.at(-1);
    this.kernels = step.kernels.map((kernel) => new Kernel(this, kernel));
    this.kernelsOf = new Map();
    for (const kernel of this.kernels) {
      for (const id of kernel.values) push(this.kernelsOf, id, kernel.index);
      for (const { kernel: from } of kernel.operands) if (from != null) this.kernels[from].readers.add(kernel.index);
    }
    this.ranks = layerRanks(this.last.values);
  }

  get flops() {
    return total(this.kernels.map((k) => k.flops));
  }

  get bytes() {
    return total(this.kernels.map((k) => k.bytes));
  }

  /** Seconds of the step, or of its kernels where only those were measured. */
  get duration() {
    return this.seconds ?? total(this.kernels.map((k) => k.seconds));
  }
}

class Kernel {
  constructor(step, kernel) {
    Object.assign(this, kernel);
    this.step = step;
    this.readers = new Set();
  }

  get rate() {
    return ratio(this.flops, this.seconds);
  }

  get traffic() {
    return ratio(this.bytes, this.seconds);
  }

  get share() {
    return ratio(this.seconds, this.step.duration);
  }

  /** Operations per byte. */
  get intensity() {
    return ratio(this.flops, this.bytes);
  }

  /** The seconds that the machine needs at least, and what it is then waiting for. */
  get limit() {
    const { model } = this.step;
    const compute = ratio(this.flops, model.peak);
    const memory = ratio(this.bytes, model.bandwidth(this.bytes));
    if (compute == null && memory == null) return null;
    return (compute ?? 0) >= (memory ?? 0) ? { seconds: compute, by: "compute" } : { seconds: memory, by: "memory" };
  }

  /** The part of the roofline that it reaches. */
  get part() {
    return ratio(this.limit?.seconds, this.seconds);
  }

  get lines() {
    return [
      `#${this.index} ${this.name}`,
      [this.origin || this.layer, this.phase].filter(Boolean).join(" · "),
      this.seconds != null && `${seconds(this.seconds)}, ${percent(this.share)} of the step`,
      `${flops(this.flops)}, ${bytes(this.bytes)}${this.rate == null ? "" : `, ${flopRate(this.rate)}`}`,
      this.part != null && `${percent(this.part)} of the roofline, bound by ${this.limit.by}`,
      this.fallback && `runs on NumPy: ${this.fallback}`,
    ];
  }
}

function push(map, key, item) {
  const found = map.get(key);
  if (found) found.push(item);
  else map.set(key, [item]);
}

// ---------------------------------------------------------------- groups of values

const INPUTS = "inputs";

/** The groups that values are drawn in: one for each layer and lane. Weights stand with what reads them first. */
function groupsOf(values) {
  const forward = new Set(values.filter((v) => v.phase === "forward").map((v) => v.layer));
  const groups = new Map();
  for (const value of values) {
    const layer = value.phase === "input" ? INPUTS : value.layer || "";
    const lane = PHASES.includes(value.phase)
      ? value.phase
      : value.phase === "input" || forward.has(layer)
        ? "forward"
        : "update";
    const id = `${lane}:${layer}`;
    if (!groups.has(id)) groups.set(id, { id, layer, lane, values: [] });
    groups.get(id).values.push(value);
  }
  return groups;
}

/** From a value to the operands that bring it data. Numbers are shared by layers that have nothing else in common. */
function sourcesIn(values) {
  const numbers = new Set(values.filter((v) => v.constant).map((v) => v.id));
  return (value) => value.operands.filter((o) => !numbers.has(o));
}

/** The row of each layer: the longest way that data take to it in the forward part. */
function layerRanks(values) {
  const groups = groupsOf(values);
  const groupOf = new Map();
  for (const group of groups.values()) for (const v of group.values) groupOf.set(v.id, group);
  const order = [...groups.values()].filter((g) => g.lane === "forward");
  const number = new Map(order.map((g, i) => [g, i]));
  const edges = [];
  const sources = sourcesIn(values);
  for (const v of values) {
    const to = groupOf.get(v.id);
    if (to.lane !== "forward") continue;
    for (const o of sources(v)) {
      const from = groupOf.get(o);
      if (from && from !== to && from.lane === "forward") edges.push([number.get(from), number.get(to)]);
    }
  }
  const ranks = longestPaths(order.length, edges);
  return new Map(order.map((g, i) => [g.layer, ranks[i]]));
}

// ---------------------------------------------------------------- what a pass changed

/** The text of a value without the names of its operands: what stays where only its operands were replaced. */
const shape = (value) => `${value.text.replace(/%[^\s,():]+/g, "%")} ${value.layer}`;

/** Values that only one of two stages has; those of the same op, type and layer on other operands are paired off. */
function difference(before, after) {
  const removed = before.values.filter((v) => !after.byId.has(v.id));
  const added = after.values.filter((v) => !before.byId.has(v.id));
  const waiting = new Map();
  for (const v of removed) push(waiting, shape(v), v);
  const rewired = [];
  const made = added.filter((v) => {
    const old = waiting.get(shape(v))?.shift();
    if (old) rewired.push([old, v]);
    return !old;
  });
  return { added: made, removed: [...waiting.values()].flat(), rewired };
}

/** How often each op is among some values. */
function countOps(values) {
  const counts = new Map();
  for (const v of values) counts.set(v.op, (counts.get(v.op) || 0) + 1);
  return counts;
}
