"""Writes python.safetensors with the reference implementation: safetensors 0.8.0 and torch 2.9.1."""

import os
import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))
save_file(
    {
        "model.norm.weight": torch.tensor([1.0, -2.0, 0.5], dtype=torch.bfloat16),
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.tensor([[1.5], [-0.25]], dtype=torch.float16),
        "scalar": torch.tensor(7.0, dtype=torch.float32),
        "empty": torch.zeros((0, 4), dtype=torch.bfloat16),
        "naïve <&> \"quoted\"": torch.tensor([1, 2, 3], dtype=torch.int8),
    },
    os.path.join(here, "python.safetensors"),
    metadata={"format": "pt"},
)
