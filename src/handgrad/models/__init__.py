"""Forward passes of whole models, in plain PyTorch."""
