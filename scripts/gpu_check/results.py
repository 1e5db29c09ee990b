"""What runs said, side by side: verdicts, figures, tables."""

import json
import re

VERDICTS = ("ok", "fail", "refused", "skip", "hash")


def verdicts(lines):
    """`ok NAME`, `hash NAME HEX`, … by name."""
    found = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word in VERDICTS and rest:
            name, _, detail = rest.partition(" ") if word == "hash" else rest.partition(": ")
            found[name] = (word, detail)
        elif word in ("PASS", "FAIL") and rest:
            found[rest] = ("ok" if word == "PASS" else "fail", rest)
    return found


def figures(lines):
    """Lines of JSON that benchmarks print, by name."""
    found = {}
    for line in lines:
        if line.startswith('{"bench"'):
            try:
                figure = json.loads(line)
            except ValueError:
                continue
            found[figure["bench"]] = figure
    return found


def last_words(lines):
    """What a program that ends without a verdict said last; neither its statistics nor our log."""
    words = [line for line in lines if line.strip() and not re.match(r"vgpu: |\[\d{4}-|ok |#", line)]
    return [f"said {line.strip()[:200]}" for line in words[-2:]]


def notes(lines):
    """Lines `# …`: what is worth seeing side by side, and no verdict. Python scripts print their times so."""
    return [line[2:] for line in lines if line.startswith("# ")]


def judge(check, native, remoted):
    before, after = verdicts(native["lines"]), verdicts(remoted["lines"])
    differences = []
    for name, (word, detail) in before.items():
        other, other_detail = after.get(name, ("missing", ""))
        if word == "ok" and other != "ok":
            differences.append(f"{name}: {other} {other_detail}".strip())
        elif word == "hash" and other != "hash":
            differences.append(f"{name}: {other} {other_detail}".strip())
        elif word == "hash" and detail != other_detail:
            differences.append(f"{name}: other bits than native")
    if remoted["why"] and not native["why"]:
        differences.insert(0, remoted["why"])
    if remoted["why"] and not any(word == "fail" for word, _ in after.values()):
        differences += last_words(remoted["lines"])
    refused = sorted({match[1] for line in remoted["lines"]
                      if (match := re.match(r"vgpu: (.*) is not implemented: CUDA_ERROR_NOT_SUPPORTED", line))})
    trips = [match.groups() for line in remoted["lines"]
             if (match := re.match(r"vgpu: (\d+) calls, (\d+) round trips", line))]
    counts = lambda found: {word: sum(1 for value in found.values() if value[0] == word) for word in VERDICTS}
    if all(word == "skip" for word, _ in before.values()):
        verdict = "n/a" if not figures(native["lines"]) else "same"
    elif not any(word in ("ok", "hash") for word, _ in before.values()):
        verdict = "native"
    else:
        verdict = "differs" if differences else "same"
    bench = {name: {"native": figure, "remoted": figures(remoted["lines"]).get(name)}
             for name, figure in figures(native["lines"]).items()}
    return {
        "step": check.step, "name": check.name, "verdict": verdict, "differences": differences, "refused": refused,
        "native": {"code": native["code"], "seconds": native["seconds"], "why": native["why"], **counts(before)},
        "remoted": {"code": remoted["code"], "seconds": remoted["seconds"], "why": remoted["why"], **counts(after)},
        "calls": int(trips[-1][0]) if trips else None, "round_trips": int(trips[-1][1]) if trips else None,
        "native_failures": [f"{name}: {detail}" for name, (word, detail) in before.items() if word == "fail"],
        "notes": [{"native": a, "remoted": b} for a, b in zip(notes(native["lines"]), notes(remoted["lines"]))
                  if check.step == "conformance" and a != b],
        "bench": bench,
    }


def table(results, steps):
    lines = []
    for step in steps:
        rows = [result for result in results if result["step"] == step]
        if not rows:
            continue
        lines += ["", f"## {step}", f"{'program':<34} {'verdict':<8} {'native ok/fail/refused/skip':<28} "
                  f"{'remoted ok/fail/refused/skip':<29} {'seconds':<14} calls/trips"]
        for row in sorted(rows, key=lambda row: row["name"]):
            count = lambda side: "/".join(str(row[side][word] + (row[side]["hash"] if word == "ok" else 0))
                                          for word in ("ok", "fail", "refused", "skip"))
            seconds = f"{row['native']['seconds']}/{row['remoted']['seconds']}"
            lines.append(f"{row['name']:<34} {row['verdict']:<8} {count('native'):<28} {count('remoted'):<29} "
                         f"{seconds:<14} {row['calls']}/{row['round_trips']}")
            lines += [f"    {difference}" for difference in row["differences"][:12]]
            lines += [f"    native {failure}" for failure in row["native_failures"][:6]]
            if row["native"]["why"]:
                lines.append(f"    native: {row['native']['why']}")
            lines += [f"    note: native {note['native']}; remoted {note['remoted']}" for note in row["notes"]]
            if row["refused"]:
                lines.append(f"    refused: {' '.join(row['refused'])}")
    return lines


def bench_table(results):
    lines = ["", "## figures", f"{'benchmark':<44} {'unit':<10} {'native':>12} {'remoted':>12} {'speed ratio':>11}"]
    for result in results:
        for name, sides in sorted(result["bench"].items()):
            native, remoted = sides["native"], sides["remoted"]
            if not remoted:
                lines.append(f"{name:<44} {native['unit']:<10} {native['value']:>12.3f} {'-':>12}")
                continue
            better = native["unit"].endswith("/s")
            ratio = remoted["value"] / native["value"] if better else native["value"] / max(remoted["value"], 1e-9)
            lines.append(f"{name:<44} {native['unit']:<10} {native['value']:>12.3f} {remoted['value']:>12.3f} "
                         f"{ratio:>11.3f}")
    return lines
