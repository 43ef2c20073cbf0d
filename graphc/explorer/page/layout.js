// ---------------------------------------------------------------- layered drawings of graphs
// Nodes are {w, h}, edges pairs of their numbers. Ranks from the longest paths, then every edge over several ranks gets
// a bend in each of them, the order within ranks follows the barycentres of neighbours, and places along a rank are the
// least squares fit to the neighbours' that keeps the order.

const GAP = { node: 18, bend: 12, rank: 26 };

/** For each of `count` nodes the number of edges on the longest way to it; edges that close a cycle are left out. */
function longestPaths(count, edges) {
  const out = Array.from({ length: count }, () => []);
  for (const [a, b] of edges) out[a].push(b);
  const state = new Uint8Array(count); // 1 on the way, 2 done
  const order = [];
  const kept = [];
  for (let root = 0; root < count; root++) {
    if (state[root]) continue;
    const stack = [[root, 0]];
    state[root] = 1;
    while (stack.length) {
      const top = stack.at(-1);
      const [node, next] = top;
      if (next === out[node].length) {
        state[node] = 2;
        order.push(node);
        stack.pop();
        continue;
      }
      top[1]++;
      const target = out[node][next];
      if (state[target] !== 1) kept.push([node, target]);
      if (!state[target]) {
        state[target] = 1;
        stack.push([target, 0]);
      }
    }
  }
  const ranks = new Int32Array(count);
  const forward = Array.from({ length: count }, () => []);
  for (const [a, b] of kept) forward[a].push(b);
  for (const node of order.reverse()) for (const b of forward[node]) ranks[b] = Math.max(ranks[b], ranks[node] + 1);
  return ranks;
}

/** Brings nodes that nothing leads to next to the first node that they lead to. */
function pullDown(ranks, edges) {
  const entered = new Set(edges.map(([, b]) => b));
  const least = new Map();
  for (const [a, b] of edges) if (!entered.has(a)) least.set(a, Math.min(least.get(a) ?? Infinity, ranks[b] - 1));
  for (const [node, rank] of least) ranks[node] = Math.max(0, rank);
}

/** Places for nodes and routes for edges: x has the nodes' middles, a route is [[x, rank], ...]. */
function layered(nodes, edges, given = null, longest = 24) {
  const ranks = given || longestPaths(nodes.length, edges);
  if (!given) pullDown(ranks, edges);
  const cells = nodes.map((node, i) => ({ w: node.w + GAP.node, rank: ranks[i], up: [], down: [], weight: 1 }));
  const chains = edges.map(([a, b]) => {
    const [from, to] = ranks[a] <= ranks[b] ? [a, b] : [b, a];
    const span = ranks[to] - ranks[from];
    if (span === 0 || span > longest) return null;
    const chain = [from];
    for (let r = ranks[from] + 1; r < ranks[to]; r++) {
      chain.push(cells.length);
      cells.push({ w: GAP.bend, rank: r, up: [], down: [], weight: 0.02 });
    }
    chain.push(to);
    for (let i = 1; i < chain.length; i++) {
      cells[chain[i - 1]].down.push(chain[i]);
      cells[chain[i]].up.push(chain[i - 1]);
    }
    return chain;
  });
  const rows = [];
  cells.forEach((cell, i) => (rows[cell.rank] ||= []).push(i));
  for (let r = 0; r < rows.length; r++) rows[r] ||= [];
  orderRows(rows, cells);
  placeRows(rows, cells);
  const left = Math.min(...cells.map((c) => c.x - c.w / 2));
  const right = Math.max(...cells.map((c) => c.x + c.w / 2));
  for (const cell of cells) cell.x -= left;
  const routes = chains.map((chain) => chain && chain.map((i) => [cells[i].x, cells[i].rank]));
  return { x: nodes.map((_, i) => cells[i].x), ranks, routes, width: right - left };
}

/** Sorts each row by the mean place of the neighbours, downwards and upwards in turn. */
function orderRows(rows, cells) {
  const note = (row) =>
    row.forEach((i, place) => {
      cells[i].place = place - (row.length - 1) / 2;
    });
  rows.forEach(note);
  for (let sweep = 0; sweep < 8; sweep++) {
    const side = sweep % 2 ? "down" : "up";
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      for (const i of row)
        cells[i].key = cells[i][side].length ? mean(cells[i][side], cells, "place") : cells[i].place;
      row.sort((a, b) => cells[a].key - cells[b].key);
      note(row);
    }
  }
}

const mean = (numbers, cells, what) => sum(numbers.map((i) => cells[i][what])) / numbers.length;

/** Gives each cell its x, near the mean of its neighbours' and without overlap. */
function placeRows(rows, cells) {
  for (const row of rows) {
    let x = -sum(row.map((i) => cells[i].w)) / 2;
    for (const i of row) {
      cells[i].x = x + cells[i].w / 2;
      x += cells[i].w;
    }
  }
  for (let sweep = 0; sweep < 10; sweep++) {
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      if (row.length === 1) continue; // stays in the middle, so that long chains don't drift
      const sides = sweep < 8 ? [sweep % 2 ? "down" : "up"] : ["up", "down"];
      const wishes = row.map((i) => {
        const near = sides.flatMap((side) => cells[i][side]);
        const real = near.filter((j) => cells[j].weight === 1); // bends give way, so that chains are straight
        const chosen = real.length ? real : near;
        return chosen.length ? mean(chosen, cells, "x") : cells[i].x;
      });
      spread(
        row.map((i) => cells[i]),
        wishes,
      );
    }
  }
}

/** Least squares fit to the wishes with cells side by side in their order (pool adjacent violators). */
function spread(row, wishes) {
  let offset = 0;
  const offsets = row.map((cell, i) => (offset += i ? (row[i - 1].w + cell.w) / 2 : 0));
  const pools = [];
  row.forEach((cell, i) => {
    let pool = { wish: wishes[i] - offsets[i], weight: cell.weight, count: 1 };
    while (pools.length && pools.at(-1).wish > pool.wish) {
      const other = pools.pop();
      const weight = pool.weight + other.weight;
      pool = {
        wish: (pool.wish * pool.weight + other.wish * other.weight) / weight,
        weight,
        count: pool.count + other.count,
      };
    }
    pools.push(pool);
  });
  let at = 0;
  for (const pool of pools) {
    for (let n = 0; n < pool.count; n++, at++) row[at].x = pool.wish + offsets[at];
  }
}

/** A drawing of one graph by itself: nodes get x and y of their upper left corner, edges a path. */
function drawLayered(nodes, edges) {
  if (!nodes.length) return { width: 0, height: 0, paths: [] };
  const { x, ranks, routes, width } = layered(nodes, edges);
  const tops = rowTops(
    nodes.map((node, i) => [ranks[i], node.h]),
    GAP.rank,
  );
  nodes.forEach((node, i) => Object.assign(node, { x: x[i] - node.w / 2, y: tops[ranks[i]] }));
  const paths = routes.map(
    (route, i) =>
      route &&
      smooth(
        route.map(([px, rank], k) => {
          const [from, to] = [nodes[edges[i][0]], nodes[edges[i][1]]];
          return [px, k === 0 ? from.y + from.h : k === route.length - 1 ? to.y : tops[rank] + 12];
        }),
      ),
  );
  return { width, height: tops.at(-1) - GAP.rank, paths };
}

/** The y at which each rank begins, for [rank, height] of everything in it; one more for the end. */
function rowTops(items, gap) {
  const heights = [];
  for (const [rank, height] of items) heights[rank] = Math.max(heights[rank] || 0, height);
  const tops = [0];
  for (let r = 0; r < heights.length; r++) tops.push(tops[r] + (heights[r] ? heights[r] + gap : 0));
  return tops;
}

/** A path through points that leaves each of them vertically. */
function smooth(points) {
  let path = `M${points[0][0].toFixed(1)} ${points[0][1].toFixed(1)}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1];
    const [x1, y1] = points[i];
    const middle = ((y0 + y1) / 2).toFixed(1);
    path += `C${x0.toFixed(1)} ${middle} ${x1.toFixed(1)} ${middle} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
  }
  return path;
}

/** A path from the side of one box to the side of another, or round the right side of boxes above one another. */
function sideways(a, b) {
  const [ay, by] = [a.y + Math.min(a.h / 2, 22), b.y + Math.min(b.h / 2, 22)];
  if (a.x + a.w < b.x || b.x + b.w < a.x) {
    const [ax, bx] = a.x < b.x ? [a.x + a.w, b.x] : [a.x, b.x + b.w];
    const middle = (ax + bx) / 2;
    return `M${ax} ${ay}C${middle} ${ay} ${middle} ${by} ${bx} ${by}`;
  }
  const [ax, bx] = [a.x + a.w, b.x + b.w];
  const out = Math.max(ax, bx) + 24 + Math.min(60, Math.abs(ay - by) / 8);
  return `M${ax} ${ay}C${out} ${ay} ${out} ${by} ${bx} ${by}`;
}

/**
 * Boxes in lanes side by side and in rows that all lanes share. Boxes are {w, h, lane, rank}; each gets x and y.
 * Returns the lanes as {name, x, w}, the size, and a path for each edge that is near enough to be drawn.
 */
function drawLanes(boxes, edges, lanes) {
  const used = lanes.filter((lane) => boxes.some((box) => box.lane === lane));
  const tops = rowTops(
    boxes.map((box) => [box.rank, box.h]),
    30,
  );
  const paths = new Array(edges.length).fill(null);
  const bands = [];
  let left = 0;
  for (const lane of used) {
    const members = boxes.filter((box) => box.lane === lane);
    const number = new Map(members.map((box, i) => [box, i]));
    const inside = [];
    edges.forEach(([a, b], i) => {
      if (boxes[a].lane === lane && boxes[b].lane === lane)
        inside.push([number.get(boxes[a]), number.get(boxes[b]), i]);
    });
    const { x, routes, width } = layered(
      members,
      inside,
      Int32Array.from(members, (box) => box.rank),
    );
    members.forEach((box, i) => Object.assign(box, { x: left + x[i] - box.w / 2, y: tops[box.rank] }));
    inside.forEach(([a, b, i], k) => {
      const route = routes[k];
      if (!route) return;
      const [upper, lower] = members[a].rank < members[b].rank ? [members[a], members[b]] : [members[b], members[a]];
      paths[i] = smooth(
        route.map(([px, rank], n) => [
          left + px,
          n === 0 ? upper.y + upper.h : n === route.length - 1 ? lower.y : tops[rank] + 20,
        ]),
      );
    });
    bands.push({ name: lane, x: left, w: width });
    left += width + 26;
  }
  edges.forEach(([a, b], i) => {
    const [from, to] = [boxes[a], boxes[b]];
    if (from.lane !== to.lane && Math.abs(from.rank - to.rank) <= 2) paths[i] = sideways(from, to);
  });
  return { lanes: bands, width: left - 26, height: tops.at(-1) - 30, paths };
}
