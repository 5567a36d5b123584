"""``responders doctor``: everything that would make the service wrong, in plain words.

Exit status 0: nothing, or warnings only. 1: at least one fault.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from ca_store.clock import SystemClock
from responders.diagnosis import diagnose
from responders.finding import Finding, Level

if TYPE_CHECKING:
    import argparse

_FAILED: Final = 1


def doctor(options: argparse.Namespace) -> int:
    """Examine a home and the server that may run on it."""
    # What is found is printed, and not said a second time on standard error.
    logging.getLogger().addHandler(logging.NullHandler())
    findings = asyncio.run(_findings(options))
    faulty = any(each.level is Level.FAULT for each in findings)
    if options.json:
        print(json.dumps({"healthy": not faulty, "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        for each in sorted(findings, key=lambda each: list(Level).index(each.level)):
            print(f"{each.level.value:<8} {each.area}: {' '.join(each.sentence.split())}")
        print(_summary(findings))
    return _FAILED if faulty else 0


async def _findings(options: argparse.Namespace) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async for each in diagnose(options.home, options.config, options.admin, SystemClock()):
            findings.append(each)  # noqa: PERF401 - what was found before an error is kept
    except Exception as error:  # noqa: BLE001 - a doctor reports what it stumbles over
        sentence = f"the examination ended early: {type(error).__name__}: {error}"
        findings.append(Finding(Level.FAULT, "doctor", sentence))
    return findings


def _summary(findings: list[Finding]) -> str:
    counts = Counter(each.level for each in findings)
    return ", ".join(
        f"{counts[level] or 'no'} {level.value}{'' if counts[level] == 1 else 's'}"
        for level in (Level.FAULT, Level.WARNING)
    )
