"""What the scripts here share: checks that print one line each.

    ok NAME              the result is right
    hash NAME HEX        the result's bits, to be compared with another run's
    fail NAME: detail
    skip NAME: reason
"""

import hashlib
import json
import sys
import time
import traceback

_checks = []
_failed = False


def check(function):
    """Registers a check. It fails by raising; `hash` lines are for what must be the same bit for bit."""
    _checks.append(function)
    return function


class Skipped(Exception):
    """A check that cannot be made here."""


def skip(reason):
    """Ends a check: what it needs is not here."""
    raise Skipped(reason)


def skip_all(reason):
    """Ends the script: what it needs is not here."""
    print(f"skip {sys.argv[0].rsplit('/', 1)[-1]}: {reason}")
    sys.exit(0)


def same_bits(name, *arrays):
    """Prints a hash over the bits of numpy arrays (or what `numpy.asarray` takes)."""
    import numpy
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(numpy.ascontiguousarray(numpy.asarray(array)).tobytes())
    print(f"hash {name} {digest.hexdigest()[:16]}", flush=True)


def close(actual, expected, tolerance=1e-3):
    """Fails unless all values are near the expected ones, relative to the largest of them."""
    import numpy
    actual, expected = numpy.asarray(actual, dtype="float64"), numpy.asarray(expected, dtype="float64")
    scale = max(float(numpy.abs(expected).max(initial=0)), 1e-30)
    error = float(numpy.abs(actual - expected).max(initial=0)) / scale
    assert error <= tolerance, f"relative error {error:.3g}"


def run():
    """Runs all checks of the script, each in the order of the file, and ends it."""
    global _failed
    for function in _checks:
        started = time.monotonic()
        try:
            function()
            print(f"ok {function.__name__}", flush=True)
        except Skipped as reason:
            print(f"skip {function.__name__}: {reason}", flush=True)
        except Exception as error:
            _failed = True
            lines = str(error).strip().splitlines() or [""]
            print(f"fail {function.__name__}: {type(error).__name__}: {lines[0][:300]}", flush=True)
            traceback.print_exc()
        print(f"# {function.__name__}: {time.monotonic() - started:.2f} s", flush=True)
    sys.exit(1 if _failed else 0)


def bench(name, value, unit):
    """Prints a figure."""
    print(json.dumps({"bench": name, "value": value, "unit": unit}), flush=True)
