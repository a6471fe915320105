// Draws the page's interactive figures from the JSON beside it; everything is put in as text, never as HTML.
(() => {
  "use strict";
  const source = document.getElementById("report-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const BLUE = "#0072B2", GREY = "#6e6e6e", VERMILION = "#D55E00", GREEN = "#009E73", INK = "#1b1f24";
  const WIDTH = 560, HEIGHT = 400, BOX = { left: 66, right: 548, top: 10, bottom: 350 };

  const make = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const key of Object.keys(attributes)) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  };
  const part = (id) => document.getElementById(id);
  const label = (name, unit) => (unit ? `${name} [${unit}]` : name);
  const written = (x, digits = 3) => {
    if (x === null || !Number.isFinite(x)) return "–";
    if (x !== 0 && (Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3)) return x.toExponential(digits - 1).replace("-", "−");
    return String(Number(x.toPrecision(digits))).replace("-", "−");
  };
  const fill = (select, names, chosen) => {
    names.forEach((name, i) => {
      const option = document.createElement("option");
      option.value = String(i);
      option.textContent = name;
      if (i === chosen) option.selected = true;
      select.appendChild(option);
    });
    select.value = String(chosen);
  };

  // about five round values inside a range
  const ticks = (low, high) => {
    const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push(k * step);
    return found;
  };
  const scale = (low, high, from, to) => (x) => from + ((x - low) / (high - low)) * (to - from);
  const frame = (svg, ranges, names) => {
    svg.textContent = "";
    const x = scale(ranges.x[0], ranges.x[1], BOX.left, BOX.right);
    const y = scale(ranges.y[0], ranges.y[1], BOX.bottom, BOX.top);
    const box = { x: BOX.left, y: BOX.top, width: BOX.right - BOX.left, height: BOX.bottom - BOX.top };
    for (const value of ticks(...ranges.x)) {
      make(svg, "line", { x1: x(value), x2: x(value), y1: BOX.bottom, y2: BOX.bottom - 5, stroke: INK });
      make(svg, "text", { x: x(value), y: BOX.bottom + 17, "text-anchor": "middle" }, written(value, 6));
    }
    for (const value of ticks(...ranges.y)) {
      make(svg, "line", { x1: BOX.left, x2: BOX.left + 5, y1: y(value), y2: y(value), stroke: INK });
      make(svg, "text", { x: BOX.left - 6, y: y(value) + 4, "text-anchor": "end" }, written(value, 6));
    }
    const middle = (BOX.top + BOX.bottom) / 2;
    make(svg, "text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 38, "text-anchor": "middle" }, names.x);
    make(svg, "text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, names.y);
    make(svg, "rect", { ...box, fill: "none", stroke: INK });
    return { x, y };
  };
  const sorted = (values) => [...values].sort((a, b) => a - b);
  const quantile = (ascending, q) => {
    const place = q * (ascending.length - 1), below = Math.floor(place);
    const above = Math.min(below + 1, ascending.length - 1);
    return ascending[below] + (place - below) * (ascending[above] - ascending[below]);
  };
  const range = (...lists) => {
    let low = Infinity, high = -Infinity;
    for (const [values, q] of lists) {
      if (!values.length) continue;
      const ascending = sorted(values);
      low = Math.min(low, quantile(ascending, q));
      high = Math.max(high, quantile(ascending, 1 - q));
    }
    const margin = 0.06 * (high - low) || 0.5 * Math.max(Math.abs(high), 1e-6);
    return [low - margin, high + margin];
  };
  const pairs = data.pairs, pairsBox = part("explore-pairs");
  if (pairs && pairsBox) {
    const across = part("pair-x"), up = part("pair-y"), withPrior = part("pair-prior");
    const svg = part("pair-figure"), told = part("pair-told");
    fill(across, pairs.names, 0);
    fill(up, pairs.names, 1);
    const draw = () => {
      const i = Number(across.value), j = Number(up.value);
      const prior = withPrior.checked ? pairs.prior : pairs.names.map(() => []);
      const named = (k) => label(pairs.names[k], pairs.units[k]);
      const at = frame(
        svg,
        { x: range([pairs.draws[i], 0], [prior[i], 0.03]), y: range([pairs.draws[j], 0], [prior[j], 0.03]) },
        { x: named(i), y: named(j) },
      );
      const inside = (cx, cy) => cx >= BOX.left && cx <= BOX.right && cy >= BOX.top && cy <= BOX.bottom;
      const dots = (xs, ys, attributes) => {
        xs.forEach((x, k) => {
          const cx = at.x(x), cy = at.y(ys[k]);
          if (inside(cx, cy)) make(svg, "circle", { cx: cx.toFixed(1), cy: cy.toFixed(1), r: 2.6, ...attributes });
        });
      };
      dots(prior[i], prior[j], { fill: GREY, "fill-opacity": 0.4, class: "prior" });
      dots(pairs.draws[i], pairs.draws[j], { fill: BLUE, "fill-opacity": 0.4, class: "draws" });
      const mark = (values, color, path) => {
        if (values[i] === null || values[j] === null) return;
        const cx = at.x(values[i]), cy = at.y(values[j]);
        if (inside(cx, cy)) make(svg, "path", { d: `M${cx} ${cy}${path}`, stroke: color, "stroke-width": 2.5, fill: "none" });
      };
      mark(pairs.best, VERMILION, "m-8 0h16m-8 -8v16");
      mark(pairs.truth, GREEN, "m-7 -7l14 14m0 -14l-14 14");
      const numbers = (k) => `${pairs.names[k]}${pairs.words[k] ? ` (${pairs.words[k]})` : ""}: ${pairs.values[k]}`;
      told.textContent = `Correlation ${written(pairs.correlation[i][j], 2)}. ${numbers(i)}. ${numbers(j)}.`;
      svg.setAttribute("aria-label", `Posterior draws of ${named(j)} against ${named(i)}. ${told.textContent}`);
    };
    for (const control of [across, up, withPrior]) control.addEventListener("change", draw);
    pairsBox.hidden = false;
    draw();
  }

  const slices = data.slices, slicesBox = part("explore-slices");
  if (slices && slicesBox) {
    const which = part("slice-z"), feature = part("slice-feature"), bin = part("slice-bin");
    const svg = part("slice-figure"), told = part("slice-told");
    fill(which, slices.slices, 0);
    fill(feature, slices.features.map((name) => name.replace("-", " − ")), 0);
    const draw = () => {
      const s = Number(which.value), f = Number(feature.value);
      const edges = slices.edges[f], counts = slices.data[s][f];
      const model = slices.model.map((quantiles) => quantiles[s][f]);
      const filled = counts.map((n, k) => (n > 0 || model[2][k] > 0.5 ? k : -1)).filter((k) => k >= 0);
      const first = Math.max((filled[0] ?? 0) - 1, 0);
      const last = Math.min((filled[filled.length - 1] ?? counts.length - 1) + 1, counts.length - 1);
      const top = Math.max(1, ...counts.map((n) => n + Math.sqrt(n)), ...model[4]);
      const name = slices.features[f].replace("-", " − ");
      const at = frame(svg, { x: [edges[first], edges[last + 1]], y: [0, 1.08 * top] }, { x: `${name} [mag]`, y: "galaxies per bin" });
      bin.min = String(first);
      bin.max = String(last);
      const chosen = Math.min(Math.max(Number(bin.value), first), last);
      bin.value = String(chosen);
      const band = (k, low, high, attributes) => {
        const width = at.x(edges[k + 1]) - at.x(edges[k]);
        const height = Math.max(at.y(low) - at.y(high), 0);
        return make(svg, "rect", { x: at.x(edges[k]), y: at.y(high), width, height, ...attributes });
      };
      band(chosen, 0, 1.08 * top, { fill: "#fff3cc" });
      for (let k = first; k <= last; k += 1) {
        band(k, model[0][k], model[4][k], { fill: BLUE, "fill-opacity": 0.25 });
        band(k, model[1][k], model[3][k], { fill: BLUE, "fill-opacity": 0.4 });
        const ends = { x1: at.x(edges[k]), x2: at.x(edges[k + 1]), y1: at.y(model[2][k]), y2: at.y(model[2][k]) };
        make(svg, "line", { ...ends, stroke: BLUE, "stroke-width": 1.5 });
        const cx = at.x(0.5 * (edges[k] + edges[k + 1])), error = Math.sqrt(counts[k]);
        if (counts[k] > 0 || model[2][k] > 1) {
          make(svg, "line", { x1: cx, x2: cx, y1: at.y(counts[k] - error), y2: at.y(counts[k] + error), stroke: INK });
          make(svg, "circle", { cx, cy: at.y(counts[k]), r: 3, fill: INK, class: "datum" });
        }
        const target = band(k, 0, 1.08 * top, { fill: "transparent" });
        target.addEventListener("click", () => {
          bin.value = String(k);
          draw();
        });
      }
      const k = chosen;
      told.textContent =
        `${name} from ${written(edges[k])} to ${written(edges[k + 1])} mag, ${slices.slices[s]}: ` +
        `${written(counts[k], 6)} observed; model ${written(model[2][k])}, 68 % ${written(model[1][k])} … ` +
        `${written(model[3][k])}; residual ${written(slices.residual[s][f][k], 2)} σ.`;
      svg.setAttribute("aria-label", `Distribution of ${name} at ${slices.slices[s]}: data and model. ${told.textContent}`);
    };
    bin.value = String(Math.floor(slices.data[0][0].length / 2));
    for (const control of [which, feature]) control.addEventListener("change", draw);
    bin.addEventListener("input", draw);
    slicesBox.hidden = false;
    draw();
  }
})();
