"""How good the images of a trained run are."""
