// Relative, so that the page works behind any path prefix.
const at = (path) => new URL(path, location.href).href.replace(/[?#].*$/, "");
const getJson = async (path) => {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
};

// `x` in a text is code.
const prose = (text) => text.split("`").map((part, k) => (k % 2 ? make("code", part) : part));

const typeName = (type) => {
  switch (type.kind) {
    case "tensor": return type.elementType;
    case "sparseTensor": return `sparse ${type.elementType}`;
    case "sequence": return `sequence of ${typeName(type.element)}`;
    case "optional": return `optional ${typeName(type.element)}`;
    case "map": return `map of ${type.key} to ${typeName(type.value)}`;
    default: return type.kind;
  }
};
const shapeOf = (type) => {
  const cell = make("span");
  if (!("shape" in type)) return cell;
  if (type.shape === null) { cell.append(make("span", "any rank", "dim")); return cell; }
  if (!type.shape.length) { cell.append(make("span", "scalar", "dim")); return cell; }
  cell.append("[");
  type.shape.forEach((dim, k) => {
    if (k) cell.append(", ");
    cell.append(make("span", dim === null ? "?" : String(dim), typeof dim === "number" ? "" : "name"));
  });
  cell.append("]");
  return cell;
};
const table = (specs) => {
  if (!specs.length) return make("p", "None.", "none");
  const [whole, head, body, titles] = ["table", "thead", "tbody", "tr"].map((tag) => make(tag));
  for (const title of ["Name", "Type", "Shape"]) {
    const cell = make("th", title);
    cell.scope = "col";
    titles.append(cell);
  }
  head.append(titles);
  for (const spec of specs) {
    const [row, name, type, shape] = ["tr", "th", "td", "td"].map((tag) => make(tag));
    name.textContent = spec.name;
    name.scope = "row";
    type.append(make("span", typeName(spec), "type"));
    shape.append(shapeOf(spec));
    row.append(name, type, shape);
    body.append(row);
  }
  whole.append(head, body);
  return whole;
};

// A request made of the signature alone: ones where a number goes, every free dim 1.
const example = (type) => {
  if (type.kind === "sequence") return [example(type.element)];
  if (type.kind === "optional") return null;
  if (type.kind === "map") return {};
  const leaf = type.elementType === "string" ? "text" : type.elementType === "bool" ? true : 1;
  const dims = (type.shape === null ? [null] : type.shape || []).map((dim) => (typeof dim === "number" ? dim : 1));
  if (dims.reduce((a, b) => a * b, 1) > 4096) return [];
  return dims.reduceRight((value, dim) => Array(dim).fill(value), leaf);
};
// Numbers are kept as they are written: parsing would round 64-bit integers.
const pretty = (text) => {
  let out = "", depth = 0, flat = 0;
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[[\]{},:]|[^\s[\]{},:"]+/g) || [];
  const pad = () => "\n" + "  ".repeat(depth);
  tokens.forEach((token, k) => {
    if (token === "[" && !flat) {
      const next = tokens.slice(k + 1, k + 2)[0];
      out += token;
      if (next !== "[" && next !== "{") flat = 1; else { depth++; out += pad(); }
    } else if (token === "]" && flat) { flat = 0; out += token; }
    else if (token === "{" || token === "[") { depth++; out += token + (/[}\]]/.test(tokens[k + 1]) ? "" : pad()); }
    else if (token === "}" || token === "]") { depth--; out += (/[{[]/.test(tokens[k - 1]) ? "" : pad()) + token; }
    else if (token === ",") out += flat ? ", " : "," + pad();
    else if (token === ":") out += ": ";
    else out += token;
  });
  return out;
};
const LONGEST_COLOURED = 60000;
const coloured = (text) => {
  const whole = document.createDocumentFragment();
  if (text.length > LONGEST_COLOURED) { whole.append(text); return whole; }
  let end = 0;
  for (const match of text.matchAll(/("(?:\\.|[^"\\])*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g)) {
    whole.append(text.slice(end, match.index));
    whole.append(make("span", match[1] || match[0], match[2] ? "k" : match[1] ? "s" : "n"));
    if (match[2]) whole.append(match[2]);
    end = match.index + match[0].length;
  }
  whole.append(text.slice(end));
  return whole;
};

let model = null, first = "{}", shown = "curl";
const SHORT = 1500;
const body = () => {
  const text = $("request").value.trim();
  try { JSON.parse(text); } catch { return null; }
  const packed = (text.match(/"(?:\\.|[^"\\])*"|\S/g) || []).join("");
  return packed.length > SHORT ? null : packed;
};
const snippets = {
  curl: () => {
    const json = body();
    const data = json === null ? "@request.json" : `'${json.replace(/'/g, "'\\''")}'`;
    return `curl ${at("v1/predict")} \\\n  -H 'content-type: application/json' \\\n  -d ${data}`;
  },
  Python: () => {
    const json = body();
    const load = json === null ? "open(\"request.json\", \"rb\").read()" : `${JSON.stringify(json)}.encode()`;
    return `import json, urllib.request\n\nrequest = urllib.request.Request(\n    ${JSON.stringify(at("v1/predict"))},\n    data=${load},\n    headers={"content-type": "application/json"},\n)\nwith urllib.request.urlopen(request) as answer:\n    print(json.load(answer))`;
  },
};
const showSnippet = () => {
  $("snippet").textContent = snippets[shown]();
  $("snippet-name").textContent = body() === null ? `${shown}, with the request in request.json` : shown;
  for (const tab of $("tabs").children) tab.setAttribute("aria-selected", String(tab.textContent === shown));
};

const send = async () => {
  $("send").disabled = true;
  const begun = performance.now();
  try {
    const response = await fetch("v1/predict", { method: "POST", headers: { "content-type": "application/json" }, body: $("request").value });
    const text = await response.text();
    const took = performance.now() - begun;
    $("meta").replaceChildren(make("span", String(response.status), response.ok ? "ok" : "wrong"), ` · ${took.toFixed(1)} ms · ${new Blob([text]).size} B`);
    $("answer").replaceChildren(coloured(pretty(text)));
  } catch (error) {
    $("meta").replaceChildren(make("span", "no answer", "wrong"));
    $("answer").replaceChildren(String(error));
  }
  $("send").disabled = false;
};

const checkState = async () => {
  let good = false, text = "unreachable";
  try {
    good = (await fetch("v1/health/ready")).ok;
    text = good ? "ready" : "not ready";
  } catch { /* said by the text */ }
  state(good ? "good" : "bad", text);
  setTimeout(checkState, good ? 15000 : 2000);
};

const start = async () => {
  model = await getJson("docs/model.json");
  const openapi = await getJson("openapi.json").catch(() => ({}));
  document.title = `${model.name} ${model.version}`;
  $("name").textContent = model.name;
  $("version").textContent = model.version;
  $("runtime").textContent = model.runtime;
  $("lead").textContent = (openapi.info && openapi.info.description) || "";
  const { inputs, outputs, batching } = model.signature;
  $("inputs").replaceChildren(table(inputs));
  $("outputs").replaceChildren(table(outputs));
  const joined = batching.axis !== undefined ? `Requests are joined along axis ${batching.axis}` : "Requests run one by one";
  $("batching").replaceChildren(...prose(`${joined}: ${batching.reason}`));
  const links = ["openapi.json", "v1/metadata", "v1/models", `v2/models/${encodeURIComponent(model.name)}`, "v1/health/ready", model.hasMetrics && "metrics", model.hasDebug && "debug", model.hasLicense && "v1/license"];
  for (const path of links.filter(Boolean)) {
    const link = make("a", `/${decodeURIComponent(path)}`);
    link.href = path;
    $("links").append(link);
  }
  const made = () => JSON.stringify(Object.fromEntries(inputs.map((spec) => [spec.name, example(spec)])));
  first = pretty(model.hasSample ? await (await fetch("docs/sample.json")).text() : made());
  $("hint").textContent = model.hasSample ? "the sample recorded when this service was built" : "made from the signature: put your values in";
  $("request").value = first;
  showSnippet();
};

for (const name of Object.keys(snippets)) {
  const tab = make("button", name, "quiet");
  tab.type = "button";
  tab.setAttribute("role", "tab");
  tab.addEventListener("click", () => { shown = name; showSnippet(); });
  $("tabs").append(tab);
}
$("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("request").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); } });
$("request").addEventListener("input", showSnippet);
$("reset").addEventListener("click", () => { $("request").value = first; showSnippet(); });
$("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText($("snippet").textContent); $("copy").textContent = "Copied"; } catch { $("copy").textContent = "Select and copy"; }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
checkState();
start().catch((error) => { $("lead").textContent = `This page could not load: ${error.message}`; });
