#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The end of scripts/test: why tests were skipped, and the count.

summary.py JUNIT-FILE CTEST-STATUS
"""

import sys
import xml.etree.ElementTree as xml


def outcome(case):
    """passed, failed or skipped. What ctest did not run for another reason than a skip has failed."""
    skip = case.find("skipped")
    if case.get("status") == "run" and case.find("failure") is None:
        return "passed"
    if case.get("status") == "disabled" or (skip is not None and "SKIP_" in skip.get("message", "")):
        return "skipped"
    return "failed"


def main():
    report, ctest_status = sys.argv[1], int(sys.argv[2])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        cases = xml.parse(report).getroot().findall("testcase")
    except (OSError, xml.ParseError) as error:
        print(f"no report of the tests: {error}")
        cases = []

    for case in cases:
        counts[outcome(case)] += 1
        for line in (case.findtext("system-out") or "").splitlines():
            if line.startswith("SKIP: "):
                print(f"skipped: {case.get('name')}: {line[len('SKIP: '):]}")
    for case in cases:
        if outcome(case) == "failed":
            print(f"failed: {case.get('name')}")

    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}")
    return 1 if counts["failed"] or not counts["passed"] or ctest_status else 0


sys.exit(main())
