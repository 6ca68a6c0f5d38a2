"""What `lpbench check` says: lines, a JUnit file, a summary in Markdown.

Owns: the words for equal and for different, in every form.
Must not know: exit codes.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from lpbench.analysis.gate import DRAM_TOLERANCE, Figure, Gate
from lpbench.analysis.metrics import ALL_METRICS
from lpbench.analysis.regression import Change, Regressions
from lpbench.units import COUNT


def gate_lines(found: Gate, *, baseline: str) -> tuple[str, ...]:
    """Return the verdict, and a line per figure that differs or is void."""
    exact = [one for one in found.figures if one.is_exact]
    near = [one for one in found.figures if not one.is_exact]
    lines = [_verdict(exact, f"exact figures of {found.arms} arms", "equal", baseline=baseline)]
    if near:
        within = f"within {DRAM_TOLERANCE:.0%} of"
        lines.append(_verdict(near, "measured figures", within, baseline=baseline))
    lines += [_line(one) for one in found.differences]
    lines += [f"  {arm} {metric}: not valid ({codes})" for arm, metric, codes in found.void]
    lines += [f"  {arm} {metric}: not compared ({why})" for arm, metric, why in found.skipped]
    return tuple(lines)


def _verdict(figures: Sequence[Figure], what: str, good: str, *, baseline: str) -> str:
    differ = sum(not one.is_equal for one in figures)
    if differ:
        return f"check: {differ} of {len(figures)} {what} differ from {baseline}"
    return f"check: {len(figures)} {what} {'are ' * good.startswith('within')}{good} {baseline}"


def _line(one: Figure) -> str:
    return f"  {one.arm} {one.metric}: {_change(one)}"


def _change(one: Figure) -> str:
    unit = ALL_METRICS[one.metric].unit
    share = ""
    if one.baseline and one.candidate is not None:
        share = f" ({one.candidate / one.baseline - 1:+.3%})"
    shown = "" if unit == COUNT else f" {unit}"
    return f"{one.candidate}{shown}, baseline {one.baseline}{share}"


def change_lines(found: Regressions, worse: Sequence[Change]) -> tuple[str, ...]:
    """Return the verdict on times, rates and joules, and a line per change that is red or void."""
    changes = found.changes
    void = [f"  {arm} {metric}: not valid ({why})" for arm, metric, why in found.void]
    red = [one for one in changes if one.is_red]
    where = f"{len(changes)} times, rates and joules over processes"
    if not found.in_turn:
        void.append("  not taken in turn: what the machine did meanwhile looks like a change")
    if not red:
        return (f"check: none of {where} got worse", *void)
    said = f"check: {len(worse)} of {where} got worse"
    if len(worse) < len(red):
        said += f", {len(red) - len(worse)} seem worse and are not confirmed"
    return (said, *(_red(one, is_sure=one in worse) for one in red), *void)


def _red(one: Change, *, is_sure: bool) -> str:
    low, high = (edge - 1 for edge in (one.effect.low, one.effect.high))
    share = f"{one.effect.ratio - 1:+.2%} ({low:+.2%}..{high:+.2%})"
    return f"  {one.arm} {one.metric}: {share}" + ", not confirmed" * (not is_sure)


def gate_junit(found: Gate) -> str:
    """Return the figures as test cases of a JUnit file: one a figure, by arm."""
    suite = ET.Element(
        "testsuite",
        name="lpbench check",
        tests=str(len(found.figures) + len(found.void) + len(found.skipped)),
        failures=str(len(found.differences)),
        errors=str(len(found.void)),
    )
    for one in found.figures:
        case = ET.SubElement(suite, "testcase", classname=_text(one.arm), name=one.metric)
        if not one.is_equal:
            ET.SubElement(case, "failure", message=_change(one))
    for arm, metric, codes in found.void:
        case = ET.SubElement(suite, "testcase", classname=_text(arm), name=metric)
        ET.SubElement(case, "error", message=_text(f"not valid: {codes}"))
    for arm, metric, why in found.skipped:
        case = ET.SubElement(suite, "testcase", classname=_text(arm), name=metric)
        ET.SubElement(case, "skipped", message=_text(f"not compared: {why}"))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def gate_summary(found: Gate, *, baseline: str) -> str:
    """Return a summary in Markdown, as a CI job shows it."""
    rows = [(one.arm, one.metric, _change(one)) for one in found.differences]
    rows += [(arm, metric, f"not valid: {codes}") for arm, metric, codes in found.void]
    title = "figures differ from the baseline" if rows else "every figure is the baseline's"
    rows += [(arm, metric, f"not compared: {why}") for arm, metric, why in found.skipped]
    said = [line for line in gate_lines(found, baseline=baseline) if not line.startswith(" ")]
    lines = [f"### lpbench check: {title}", "", *said, ""]
    if rows:
        lines += ["| schedule | metric | figure |", "|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _text(text: str) -> str:
    """Return text without what XML cannot hold."""
    return "".join(one if one.isprintable() else "?" for one in text)
