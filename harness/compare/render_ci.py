"""A report for machines that watch builds: JUnit XML, and GitHub's annotations."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from harness.compare import words
from harness.compare.finding import Report


def junit(report: Report) -> str:
    """One test case a metric: a regression fails, an inconclusive or uncompared one is skipped."""
    counts = report.counts()
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name="harness compare",
        tests=str(len(report.findings)),
        failures=str(counts.get("regression", 0)),
        errors="0",
        skipped=str(counts.get("inconclusive", 0) + counts.get("not compared", 0)),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, text in (
        ("base", report.base), ("head", report.head), ("comparisons", str(report.comparisons)),
    ):  # fmt: skip
        ElementTree.SubElement(properties, "property", name=name, value=_xml(text))
    for finding in report.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(finding.row), name=words.metric(finding), time="0"
        )
        text = _xml(words.sentence(finding))
        if finding.verdict == "regression":
            failure = ElementTree.SubElement(case, "failure", type="regression", message=text)
            failure.text = text
        elif finding.verdict in ("inconclusive", "not compared"):
            ElementTree.SubElement(case, "skipped", message=text)
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(suites, encoding="unicode")
        + "\n"
    )


def workflow_commands(report: Report) -> Iterator[str]:
    """GitHub workflow commands, one a line: errors for regressions, one notice for the rest."""
    for finding in report.of("regression"):
        title = f"regression: {words.metric(finding)}"
        yield f"::error title={_property(title)}::{_data(words.sentence(finding))}"
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts().items())
    yield f"::notice title=harness compare::{_data(f'{counts}. {words.multiplicity(report)}')}"


def _xml(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold."""
    return "".join(char for char in text if char in "\t\n" or ord(char) >= 32)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
