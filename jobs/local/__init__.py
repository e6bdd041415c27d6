"""The platform on one machine: a private Postgres and a private Redis as child processes on loopback."""
