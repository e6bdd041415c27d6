"""When data moves: one module per job, each with ``main()``; ``python -m jobs.NAME --help`` tells all."""
