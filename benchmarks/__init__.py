"""Side by side with other libraries: one command per table."""
