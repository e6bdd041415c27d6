"""What Redis holds: Feast's layout, the serving plan, the status, and the materializer that makes it so."""
