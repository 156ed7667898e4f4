"""Images as conditions."""
