"""A pytest plugin that runs numba-cuda's own tests and compares the outcome with a list.

The wheel has the tests (`numba.cuda.tests`), but neither the options nor the fixture that they ask for;
both are here. `expected.txt` names the tests that do not pass and why. The outcome is one line for each
module: `PASS numba-suite/MODULE (figures)` or `FAIL numba-suite/MODULE: tests`. A test that fails without
being in the list, and one that passes although it is, are failures alike.
"""

import collections
import fnmatch
import pathlib

import pytest

PACKAGE = "numba.cuda.tests."
LIST = pathlib.Path(__file__).with_name("expected.txt")


def expectations():
    """(pattern, run, reason) for each line of the list."""
    for line in LIST.read_text().splitlines():
        entry, _, reason = line.partition("#")
        if entry.strip():
            pattern, *flags = entry.split()
            yield pattern, "norun" not in flags, reason.strip()


def name_of(item):
    """`cudapy.test_atomics::TestCudaAtomics::test_atomic_add` for a collected test."""
    names = [item.module.__name__.removeprefix(PACKAGE)]
    if item.cls is not None:
        names.append(item.cls.__name__)
    return "::".join([*names, item.name])


def pytest_addoption(parser):
    parser.addoption("--dump-failed-filechecks", action="store_true", default=False)


@pytest.fixture(scope="class")
def initialize_from_pytest_config(request):
    request.cls._dump_failed_filechecks = request.config.getoption("dump_failed_filechecks")


def pytest_collection_modifyitems(items):
    listed = list(expectations())
    for item in items:
        name = name_of(item)
        item.user_properties.append(("name", name))
        for pattern, run, reason in listed:
            if fnmatch.fnmatchcase(name, pattern):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True, run=run))
                break


class Report:
    """Outcomes by module."""

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.wrong = collections.defaultdict(list)

    def pytest_runtest_logreport(self, report):
        name = dict(report.user_properties).get("name", report.nodeid)
        module, _, test = name.partition("::")
        if report.failed:
            # A test that was expected to fail and passed says so in its report.
            note = " (passes; take it off the list)" if "XPASS" in str(report.longrepr) else ""
            self.wrong[module].append(test.rpartition("::")[2] + note)
        elif hasattr(report, "wasxfail"):
            self.counts[module]["expected failures"] += 1
        elif report.skipped:
            self.counts[module]["skipped"] += 1
        elif report.when == "call":
            self.counts[module]["passed"] += 1

    def pytest_terminal_summary(self, terminalreporter):
        total = sum(self.counts.values(), collections.Counter())
        for module in sorted(self.counts.keys() | self.wrong.keys()):
            if wrong := list(dict.fromkeys(self.wrong[module])):
                terminalreporter.write_line(f"FAIL numba-suite/{module}: {', '.join(wrong)}")
            else:
                terminalreporter.write_line(f"PASS numba-suite/{module} ({figures(self.counts[module])})")
        failed = sum(map(len, self.wrong.values()))
        terminalreporter.write_line(f"numba's own tests: {figures(total)}, {failed} wrong")


def figures(counts):
    return ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "skipped", "expected failures") if counts[kind])


def pytest_configure(config):
    config.pluginmanager.register(Report())
