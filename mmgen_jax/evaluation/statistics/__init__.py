"""Statistics over arrays of features; nothing here knows a run."""
