"""The gateway: answers reads of online features over HTTP. Start it with `python -m api`."""

VERSION = "0.1.0"
