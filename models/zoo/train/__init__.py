"""How the networks of the zoo were trained: needs the extra ``train`` (PyTorch, scikit-learn)."""
