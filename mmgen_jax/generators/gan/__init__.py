"""Conditional GAN."""
