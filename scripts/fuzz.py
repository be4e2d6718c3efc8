"""Coverage-guided fuzzing: ``python -m scripts.fuzz TARGET [-runs=N …]``; targets are in ``fuzz_targets``.

Needs ``pip install atheris``, which has wheels for Linux; what stands behind the target goes to libFuzzer. What is found is
printed with its bytes. How many inputs were tried stands in ``docs/security.md``.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Hand a target to libFuzzer, with its seeds tried first."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    with atheris.instrument_imports(include=["bucketline", "worker"]):
        from scripts.fuzz_targets import SEEDS, TARGETS
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"Name a target: {', '.join(TARGETS)}.")
    for seed in SEEDS[name]:
        TARGETS[name](seed)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
