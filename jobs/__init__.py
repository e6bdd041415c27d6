"""When data moves: one module per job, each with ``main()``; ``python -m jobs.NAME --help`` tells all."""

VERSION = "0.1.0"
"""The platform's version, as in pyproject.toml."""
