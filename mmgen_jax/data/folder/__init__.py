"""A user's own folder of images as a data set."""
