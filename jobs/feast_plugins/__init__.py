"""What Feast plugs in by dotted path in `feature_store.yaml`."""
