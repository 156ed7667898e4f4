"""DALL-E-like transformer over image tokens."""
