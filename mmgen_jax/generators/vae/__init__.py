"""Variational autoencoder."""
