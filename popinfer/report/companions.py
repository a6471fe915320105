"""What stands beside the page for those who were handed a folder of results: a README, tables, citations.

``README.md`` says what was found, what each file is and how to go on; ``reproduce.sh`` makes the results
again; ``references.bib`` lists what to cite. They are made from the templates beside this file.
"""

import re
from dataclasses import dataclass

from popinfer.report.citations import Citations
from popinfer.report.gate import Verdict
from popinfer.report.goodness import FitVerdict
from popinfer.report.learned import Learned
from popinfer.report.numbers import fixed_decimals, measured
from popinfer.report.parameters import ParameterRow
from popinfer.report.summary import RunSummary
from popinfer.report.templates import render
from popinfer.storage import with_seal

_OF_REPORT = {
    "report.html": "the page to read, with everything inside it",
    "report.pdf": "the page on paper, where it was asked for (popinfer report --pdf)",
    "figures/": "its figures as PNG and PDF",
    "tables/": "its numbers: parameters, predictions, checks, relations",
    "references.bib": "what to cite",
}
_OF_RUN = {
    "reproduce.sh": "makes the results again",
    "posterior.nc": "prior, posterior and predictions, an ArviZ InferenceData",
    "summary.json": "what was run and found, beside the draws",
    "run.yaml": "the run file with every default written out",
    "provenance.json": "what the results were made from",
}


@dataclass(frozen=True)
class Findings:
    """What page and README both tell.

    Attributes
    ----------
    summary : what was run. verdict : on the draws. goodness : of the fit.
    rows : of the parameters. learned : the same in words. caveats : sentences for the reader.
    citations : what to cite.
    """

    summary: RunSummary
    verdict: Verdict
    goodness: FitVerdict
    rows: tuple[ParameterRow, ...]
    learned: Learned
    caveats: tuple[str, ...]
    citations: Citations


def companion_files(found: Findings) -> dict[str, bytes]:
    """README, citations and, of a run that has a run file, script, with their seals: file name -> content.

    Parameters
    ----------
    found : Findings
        What the report tells.
    """
    filters = {"plain": plain, "comment": comment, "measured": measured, "rounded": fixed_decimals}
    content = {name: getattr(found, name) for name in Findings.__dataclass_fields__}
    version = found.summary.versions.get("popinfer", "")
    from_run_file = bool(found.summary.config_text)
    listed = _OF_REPORT | (_OF_RUN if from_run_file else {})
    texts = {
        "README.md": render(
            "readme.md", filters, files=listed.items(), version=version, again=from_run_file, **content
        ),
        "references.bib": found.citations.bibtex(),
    }
    if from_run_file:
        texts["reproduce.sh"] = render("reproduce.sh", filters, summary=found.summary)
    identity = found.summary.posterior or "-"
    kinds = {"README.md": "readme", "reproduce.sh": "script", "references.bib": "references"}
    return {
        name: with_seal(text.encode(), "." + name.rpartition(".")[2], kinds[name], identity)
        for name, text in texts.items()
    }


def plain(text: str) -> str:
    """Text as Markdown shows it: one line, and nothing of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def comment(text: str) -> str:
    """Text that stays inside a comment of one line."""
    return " ".join("".join(x if x.isprintable() else " " for x in text).split())
