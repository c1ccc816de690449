#!/usr/bin/env python3
"""Plants faults in a copy of the tree, one at a time, and tells which of them the tests find.

    python3 tests/faults/plant.py [--only WORD] [--target FOLDER] [--list]

The copy is a worktree of HEAD below the target folder. The adapter is that of the environment; `cargo xtask test` prints
what to set for its own. A fault counts as found where the tests named with it were built and then failed. A text to replace
that is not in the tree exactly once is an error, so that this list follows the code.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


def find(tree, fault):
    """The file that has the text, which must be there once."""
    files = [path for pattern in fault["files"] for path in sorted(tree.glob(pattern)) if path.is_file()]
    counts = [(path, path.read_text().count(fault["find"])) for path in files]
    hits = [(path, count) for path, count in counts if count]
    if len(hits) != 1 or hits[0][1] != 1:
        where = ", ".join(f"{count} in {path.relative_to(tree)}" for path, count in hits) or "none"
        sys.exit(f"`{fault['name']}`: its text must be in {fault['files']} once: {where}\n{fault['find']}")
    return hits[0][0]


def cargo(tree, target, test, *more):
    args = ["cargo", "test", "--workspace", *test[:-1], "--target-dir", str(target), *more]
    env = {**os.environ, "CARGO_INCREMENTAL": "1"}
    return subprocess.run(args, cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def outcome(tree, target, tests):
    """`found`, `not found`, or how the build failed."""
    for test in tests:
        ran = cargo(tree, target, test, "--", *([test[-1]] if test[-1] else []))
        if "could not compile" in ran.stderr:
            return "DOES NOT BUILD: " + ran.stderr[-1500:]
        failed = [line.split()[1] for line in ran.stdout.splitlines() if line.endswith("... FAILED")]
        if failed:
            return "found by " + ", ".join(failed)
        if ran.returncode:
            return "DOES NOT RUN: " + (ran.stdout + ran.stderr)[-1500:]
        if not re.search(r"ok\. [1-9]", ran.stdout):
            return f"no test is named {test[-1]}"
    return "NOT FOUND"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="plant those whose name has this word")
    parser.add_argument("--target", type=Path, default=ROOT / "target/faults/target", help="where cargo builds")
    parser.add_argument("--list", action="store_true", help="check that each text is there, and run nothing")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if options.only in fault["name"]]
    if options.list:
        for fault in faults:
            print(f"{fault['name']:60} {find(ROOT, fault).relative_to(ROOT)}")
        return

    tree = ROOT / "target/faults/tree"
    run = lambda *args: subprocess.run(args, cwd=ROOT, check=True, capture_output=True)
    if not tree.exists():
        run("git", "worktree", "prune")
        run("git", "worktree", "add", "--detach", str(tree), "HEAD")
    clean = lambda: subprocess.run(["git", "checkout", "--quiet", "--force", "--detach", head], cwd=tree, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    clean()
    # All texts first: nobody waits an hour for a word that changed.
    files = {fault["name"]: find(tree, fault) for fault in faults}
    rows = []
    for fault in faults:
        path, start = files[fault["name"]], time.time()
        path.write_text(path.read_text().replace(fault["find"], fault["replace"]))
        try:
            said = outcome(tree, options.target, fault["tests"])
        finally:
            clean()
        rows.append((fault["name"], str(path.relative_to(tree)), said))
        print(f"{fault['name']:60} {path.relative_to(tree)}\n    {said} ({time.time() - start:.0f} s)", flush=True)
    found = sum(said.startswith("found") for _, _, said in rows)
    print(f"\n{found} of {len(rows)} found")
    sys.exit(found != len(rows))


main()
