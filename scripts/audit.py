"""Known weaknesses among the pinned dependencies, by pip-audit: ``make audit``.

Comes in: ``constraints.txt``. Goes out: the findings and exit code 1; or one sentence and 0 where the advisories cannot be
reached, since a machine without them must still be able to build. Needs ``pip install pip-audit``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMMAND = [
    "pip_audit",
    "--requirement",
    "constraints.txt",
    "--no-deps",
    "--disable-pip",
    "--progress-spinner",
    "off",
    "--format",
    "json",
]


def main() -> int:
    """Ask, and say what was found."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-m", *COMMAND], cwd=root, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"The advisories cannot be asked: {done.stderr.strip().splitlines()[-1:] or 'no answer'}")
        return 0
    asked = [one for one in found if "vulns" in one]
    print(f"{len(asked)} of {len(found)} pinned packages could be looked up.")
    bad = [(one["name"], one["version"], flaw["id"]) for one in asked for flaw in one["vulns"]]
    for name, version, flaw in bad:
        print(f"{name} {version}: {flaw}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
