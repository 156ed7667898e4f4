"""Vector-quantized autoencoder."""
