"""TensorFlow Datasets as data sets."""
