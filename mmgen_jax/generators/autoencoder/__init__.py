"""Conditional autoencoder."""
