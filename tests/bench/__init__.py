"""Benchmarks: what is claimed to be fast, beside what it is compared with, in one run."""
