"""Networks whose weights others trained, and readers of their files."""
