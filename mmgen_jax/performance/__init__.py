"""How fast a config trains and samples, here and on devices that are not there."""
