"""What keeps the project in order: oldest dependencies, audits, distributions tried elsewhere."""
