// Each second: the service's counters as they stand. What is drawn are their differences.
const EVERY = 1000, KEPT = 120, RECENT = 10;
const draw = (tag, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);

// Numbers as people read them.
const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
const scaled = (value, units) => {
  let k = 0;
  while (k + 1 < units.length && value >= 1000) { value /= 1000; k += 1; }
  return digits(value) + units[k];
};
const count = (value) => (Number.isInteger(value) && value < 10000 ? String(value) : scaled(value, ["", "k", "M", "G"]));
const time = (ns) => (ns === null ? "–" : scaled(ns, [" ns", " µs", " ms", " s"]));
const bytes = (value) => scaled(value, [" B", " kB", " MB", " GB"]);

// What happened between two readings: counters are differences, the rest is as it is now.
const minus = (now, before) => now.map((value, k) => value - before[k]);
const between = (before, now) => {
  const seconds = (now.at_ms - before.at_ms) / 1000;
  const runs = new Map(before.batches.map((batch) => [batch.size, batch]));
  const batches = now.batches.map((batch) => {
    const old = runs.get(batch.size) || { count: 0, rows: 0 };
    return { size: batch.size, count: batch.count - old.count, rows: batch.rows - old.rows };
  });
  const times = Object.fromEntries(Object.entries(now.times).map(([name, one]) => [name, {
    buckets: minus(one.buckets, before.times[name].buckets), sum: one.sum_ns - before.times[name].sum_ns,
  }]));
  const failed = sum(Object.values(now.failures)) - sum(Object.values(before.failures));
  return {
    at: now.at_ms, seconds, batches, times, failed, answered: sum(times.all.buckets),
    cpu: now.cpu_seconds === null || before.cpu_seconds === null ? null : now.cpu_seconds - before.cpu_seconds,
    waiting: now.waiting, running: now.in_work - now.waiting, connections: now.connections,
  };
};
// The time below which a share of the requests lies: inside a bucket they are taken to be spread evenly.
const percentile = (bounds, buckets, share) => {
  const all = sum(buckets);
  if (!all) return null;
  let left = all * share;
  for (let k = 0; k < buckets.length; k++) {
    if (left <= buckets[k] && buckets[k]) {
      const low = k ? bounds[k - 1] : 0, high = k < bounds.length ? bounds[k] : bounds[k - 1] * 2;
      return low + (high - low) * (left / buckets[k]);
    }
    left -= buckets[k];
  }
  return bounds[bounds.length - 1] * 2;
};
const added = (list) => (list.length ? list.slice(1).reduce((all, one) => all.map((value, k) => value + one[k]), list[0].slice()) : []);

// A panel: a legend beside the title, and a drawing below.
const MARGIN = { left: 52, right: 6, top: 8, bottom: 20 };
const panel = (id) => {
  const legend = make("div", undefined, "legend"), svg = draw("svg", { role: "img" });
  $(id).append(legend, svg);
  const begin = (series) => {
    legend.replaceChildren(...series.map(({ name, color, value }) => {
      const one = make("span", `${name} `, color);
      one.append(make("b", value));
      return one;
    }));
    svg.setAttribute("aria-label", `${$(id).querySelector("h2").textContent}: ${series.map(({ name, value }) => `${name} ${value}`).join(", ")}`);
    const width = Math.max(svg.clientWidth, 200), height = Math.max(svg.clientHeight, 100);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    return { svg, left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  };
  return { begin };
};
const ruled = (box, y, ticks, format) => ticks.forEach((tick) => box.svg.append(
  draw("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }),
  draw("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)),
));
// Round numbers from 0 to a little above the most.
const linear = (box, most, format) => {
  const step = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(Math.max(most, 1e-9)))).find((s) => most / s <= 5);
  const top = Math.max(Math.ceil(most / step), 1) * step;
  const y = (value) => box.bottom - (value / top) * (box.bottom - box.top);
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, k) => k * step);
  ruled(box, y, ticks.length > 4 ? ticks.filter((_, k) => k % 2 === 0) : ticks, format);
  return y;
};
const logarithmic = (box, values, format) => {
  const low = Math.floor(Math.log10(Math.min(...values))), high = Math.max(Math.ceil(Math.log10(Math.max(...values))), low + 1);
  const y = (value) => box.bottom - ((Math.log10(value) - low) / (high - low)) * (box.bottom - box.top);
  ruled(box, y, Array.from({ length: high - low + 1 }, (_, k) => 10 ** (low + k)), format);
  return y;
};
const over = (box, history) => {
  const last = history.length ? history[history.length - 1].at : 0;
  // As wide as what is known of, half a minute at least.
  const step = history.length > 30 ? 30 : 10, wide = Math.min(Math.max(Math.ceil((history.length - 1) / step) * step, 30), KEPT), span = wide * EVERY;
  for (let back = 0; back <= wide; back += step) {
    const x = box.right - (back / wide) * (box.right - box.left);
    box.svg.append(draw("text", { x, y: box.bottom + 15, "text-anchor": back ? "middle" : "end" }, back ? `−${back} s` : "now"));
  }
  return (at) => Math.max(box.left, box.right - ((last - at) / span) * (box.right - box.left));
};
const nothing = (box) => box.svg.append(draw("text", { class: "none", x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 }, "nothing yet"));
// A line breaks where there is no value.
const line = (box, history, x, y, color, value) => {
  let path = "", pen = "M";
  for (const one of history) {
    const at = value(one);
    if (at === null) { pen = "M"; continue; }
    path += `${pen}${x(one.at).toFixed(1)},${y(at).toFixed(1)}`;
    pen = "L";
  }
  const dots = path.match(/M[^ML]+(?=M|$)/g) || [];
  if (path) box.svg.append(draw("path", { class: `line ${color}`, d: path }));
  dots.forEach((dot) => {
    const [cx, cy] = dot.slice(1).split(",");
    box.svg.append(draw("circle", { class: color, fill: "currentColor", r: 2, cx, cy }));
  });
};
const bars = (box, values, labels, y, color) => {
  const group = draw("g", { class: `bars ${color}` }), slot = (box.right - box.left) / values.length;
  const each = Math.ceil(values.length / Math.max(1, Math.floor((box.right - box.left) / 62)));
  values.forEach((value, k) => {
    const height = value ? Math.max(2, box.bottom - y(value)) : 1, x = box.left + k * slot + 1;
    const rect = draw("rect", { x, y: box.bottom - height, width: Math.max(1, slot - 2), height, rx: 1.5, class: value ? "" : "zero" });
    rect.append(draw("title", {}, `${labels[k]}: ${count(value)}`));
    group.append(rect);
    if (k % each === 0) box.svg.append(draw("text", { x: x + slot / 2 - 1, y: box.bottom + 15, "text-anchor": "middle" }, labels[k]));
  });
  box.svg.append(group);
};

const panels = Object.fromEntries(["throughput", "latency", "spread", "stages", "queue", "batches"].map((id) => [id, panel(id)]));
const SHARES = [["p50", "a", 0.5], ["p90", "c", 0.9], ["p99", "d", 0.99]];
const STAGES = [["decode", "b"], ["queue", "c"], ["compute", "a"], ["encode", "e"]];
let history = [], before = null, paused = false;

const drawThroughput = () => {
  const rate = (one) => one.answered / one.seconds, failed = (one) => one.failed / one.seconds;
  const last = history[history.length - 1];
  const box = panels.throughput.begin([
    { name: "answered", color: "a", value: last ? count(rate(last)) : "–" }, { name: "failed", color: "d", value: last ? count(failed(last)) : "–" },
  ]);
  const y = linear(box, Math.max(1, ...history.map(rate), ...history.map(failed)), count), x = over(box, history);
  line(box, history, x, y, "d", failed);
  line(box, history, x, y, "a", rate);
};
const drawLatency = (bounds) => {
  const last = history[history.length - 1];
  const at = (share) => (one) => percentile(bounds, one.times.all.buckets, share);
  const box = panels.latency.begin(SHARES.map(([name, color, share]) => ({ name, color, value: last ? time(at(share)(last)) : "–" })));
  const x = over(box, history), values = SHARES.flatMap(([, , share]) => history.map(at(share))).filter((value) => value > 0);
  if (!values.length) { nothing(box); return; }
  const y = logarithmic(box, values, time);
  SHARES.forEach(([, color, share]) => line(box, history, x, y, color, at(share)));
};
const drawSpread = (bounds, recent) => {
  const buckets = added(recent.map((one) => one.times.all.buckets));
  const box = panels.spread.begin([{ name: "requests", color: "a", value: count(sum(buckets)) }]);
  if (!sum(buckets)) { nothing(box); return; }
  // The buckets around those that have something.
  const first = Math.max(0, buckets.findIndex((n) => n) - 1), end = Math.min(buckets.length, buckets.findLastIndex((n) => n) + 2);
  const labels = buckets.map((_, k) => (k < bounds.length ? `≤${time(bounds[k])}` : `>${time(bounds[k - 1])}`));
  const shown = buckets.slice(first, end);
  bars(box, shown, labels.slice(first, end), linear(box, Math.max(...shown), count), "a");
};
const drawStages = () => {
  const mean = (one, stage) => (one.answered ? one.times[stage].sum / one.answered : 0);
  const last = history[history.length - 1];
  const box = panels.stages.begin(STAGES.map(([name, color]) => ({ name, color, value: last && last.answered ? time(mean(last, name)) : "–" })));
  const most = Math.max(0, ...history.map((one) => sum(STAGES.map(([name]) => mean(one, name)))));
  const x = over(box, history);
  if (!most) { nothing(box); return; }
  const y = linear(box, most, time);
  let base = history.map(() => 0);
  for (const [name, color] of STAGES) {
    const top = history.map((one, k) => base[k] + mean(one, name));
    const up = history.map((one, k) => `${x(one.at).toFixed(1)},${y(top[k]).toFixed(1)}`);
    const down = history.map((one, k) => `${x(one.at).toFixed(1)},${y(base[k]).toFixed(1)}`).reverse();
    box.svg.append(draw("path", { class: `area ${color}`, d: `M${up.concat(down).join("L")}Z` }));
    base = top;
  }
};
const drawQueue = (now) => {
  const box = panels.queue.begin([
    { name: "running", color: "a", value: count(now.in_work - now.waiting) }, { name: "waiting", color: "c", value: `${count(now.waiting)} of ${count(now.max_queue)}` },
  ]);
  const y = linear(box, Math.max(1, ...history.map((one) => Math.max(one.running, one.waiting))), count), x = over(box, history);
  line(box, history, x, y, "a", (one) => one.running);
  line(box, history, x, y, "c", (one) => one.waiting);
};
const drawBatches = (now, recent) => {
  const runs = new Map();
  recent.forEach((one) => one.batches.forEach(({ size, count }) => count && runs.set(size, (runs.get(size) || 0) + count)));
  const total = sum([...runs.values()]), rows = sum([...runs].map(([size, n]) => size * n));
  const box = panels.batches.begin([{ name: "runs", color: "b", value: count(total) }, { name: "mean", color: "b", value: total ? `${digits(rows / total)} rows` : "–" }]);
  if (!total) { nothing(box); return; }
  // Every size up to the largest while they can be told apart, afterwards those that ran.
  const most = Math.max(...runs.keys()), sizes = most <= 64 ? Array.from({ length: most }, (_, k) => k + 1) : [...runs.keys()].sort((a, b) => a - b);
  const values = sizes.map((size) => runs.get(size) || 0);
  bars(box, values, sizes.map(String), linear(box, Math.max(...values), count), "b");
};
const drawTiles = (now, recent) => {
  const seconds = sum(recent.map((one) => one.seconds)) || 1, all = added(recent.map((one) => one.times.all.buckets));
  const rows = sum(recent.flatMap((one) => one.batches.map((batch) => batch.rows)));
  const at = (share) => time(percentile(now.bounds_ns, all, share));
  const cpu = recent.every((one) => one.cpu !== null) ? `${digits(sum(recent.map((one) => one.cpu)) / seconds)} cores` : "–";
  const tiles = [
    ["requests/s", count(sum(recent.map((one) => one.answered)) / seconds)], ["rows/s", count(rows / seconds)], ["p50", at(0.5)], ["p99", at(0.99)],
    ["failed", count(sum(recent.map((one) => one.failed)))], ["connections", count(now.connections)], ["CPU", cpu],
    ["memory", now.resident_bytes === null ? "–" : bytes(now.resident_bytes)],
  ];
  $("tiles").replaceChildren(...tiles.map(([name, value]) => {
    const tile = make("div");
    tile.append(make("dt", name), make("dd", value));
    return tile;
  }));
};
const drawAll = (now) => {
  const recent = history.slice(-RECENT);
  drawTiles(now, recent);
  drawThroughput();
  drawLatency(now.bounds_ns);
  drawSpread(now.bounds_ns, recent);
  drawStages();
  drawQueue(now);
  drawBatches(now, recent);
};
const look = async () => {
  const response = await fetch("debug/data.json", { cache: "no-store" });
  if (!response.ok) throw new Error(String(response.status));
  const now = await response.json();
  // A service that began anew counts from zero.
  if (before && (now.started_ms !== before.started_ms || now.at_ms <= before.at_ms)) { before = null; history = []; }
  if (before) history = history.concat(between(before, now)).slice(-KEPT);
  before = now;
  document.title = `${now.model} · live`;
  $("name").textContent = now.model;
  $("version").textContent = now.version;
  $("provider").textContent = now.provider || "";
  state(now.ready ? "good" : "bad", now.ready ? "ready" : now.doing || "stopping");
  drawAll(now);
};
const loop = async () => {
  if (!paused && !document.hidden) {
    try { await look(); } catch { state("bad", "no answer"); }
  }
  setTimeout(loop, EVERY);
};
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").textContent = paused ? "Go on" : "Pause";
  $("pause").setAttribute("aria-pressed", String(paused));
});
addEventListener("resize", () => before && drawAll(before));
loop();
