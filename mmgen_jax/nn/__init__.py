"""Network blocks that more than one family or modality uses."""
