"""Benchmarks: `make bench`. What they found stands in docs/benchmarks.md."""
