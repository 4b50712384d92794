"""What precision a device is made for."""

import torch


def fast_bfloat16(device: torch.device | str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32.

    A CPU does with instructions for it (AMX, AVX-512 BF16, those of Arm); without them PyTorch
    computes the same many times slower. CUDA devices do from capability 8 on.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return False


def halved(wanted: bool, device: torch.device | str = "cpu") -> torch.autocast:
    """A context of mixed precision, if that is wanted and fast; else of the precision there is.

    For what may be computed in either: draws that no acceptance ratio decides on.
    """
    device = torch.device(device)
    enabled = wanted and fast_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
