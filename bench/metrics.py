"""A scrape of `--metrics`: milliseconds of processor time and kB of text, for counters and for histograms.

    .venv/bin/python bench/metrics.py [--functions 2000] [--scrapes 20]

Runs anywhere: the numbers are made, not measured. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest

from multiprobe.output.metrics import Family, MetricsServer, NumberFamily, TimeFamily

LABELS = ("function", "module")


def main() -> None:
    """Measure both kinds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=2000)
    parser.add_argument("--scrapes", type=int, default=20)
    options = parser.parse_args()
    names = [(f"some_kernel_function_{n}", "") for n in range(options.functions)]
    calls = NumberFamily("multiprobe_calls", "Calls.", LABELS, dict.fromkeys(names, 1e6))
    rows = {name: ([9] * 30, 10**9) for name in names}
    times = TimeFamily("multiprobe_call_duration_seconds", "Times.", LABELS, rows)
    for command, family in (("count", calls), ("latency", times)):
        print(json.dumps({"command": command, "functions": options.functions, **scrape(family, options.scrapes)}))


def scrape(family: Family, n: int) -> dict[str, float]:
    """The median of `n` scrapes."""

    def source() -> Iterator[Family]:
        yield family

    server, registry, taken = MetricsServer("127.0.0.1", 0), CollectorRegistry(), []
    registry.register(server)
    try:
        with server.serving(source):
            for _ in range(n):
                began = time.process_time()
                text = generate_latest(registry)
                taken.append(time.process_time() - began)
    finally:
        server.close()
    return {"ms": round(1000 * statistics.median(taken), 1), "kb": len(text) >> 10}


if __name__ == "__main__":
    main()
