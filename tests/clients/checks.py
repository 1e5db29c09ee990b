"""A list of tests, run in order with one line on each."""

import sys

TESTS = []

# Not 1, with which Python ends when a program cannot even be imported.
FAILED = 10


def register(function):
    """Registers a test under its name."""
    TESTS.append(function)
    return function


def main(client):
    """Runs the tests that the arguments name, or all; the exit code is FAILED if one did not pass."""
    chosen = [t for t in TESTS if len(sys.argv) == 1 or t.__name__ in sys.argv[1:]]
    failed = 0
    for function in chosen:
        try:
            function()
            print(f"PASS {client}/{function.__name__}", flush=True)
        except Exception as error:  # whatever it is, it belongs on the line
            failed += 1
            reason = " ".join(str(error).split())[:300]
            print(f"FAIL {client}/{function.__name__}: {type(error).__name__}: {reason}", flush=True)
    return FAILED if failed else 0
