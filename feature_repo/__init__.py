"""What a feature is: entities, sources, views, services, the tables' migrations and data contracts, the sample data."""
