"""Paths in our variables by PyTorch's names, layer by layer, for a model's `torch_names`.

Each function gives the entries of one layer of a state dict, with its name there (`torch`) and the
path of ours without the collection ("body/stem_conv").
"""


def conv(torch: str, path: str, bias: bool = False) -> dict[str, str]:
    """The entries of a `torch.nn.Conv2d`."""
    names = {f"{torch}.weight": f"params/{path}/kernel"}
    return names | {f"{torch}.bias": f"params/{path}/bias"} if bias else names


def linear(torch: str, path: str) -> dict[str, str]:
    """The entries of a `torch.nn.Linear`."""
    return conv(torch, path, bias=True)


def norm(torch: str, path: str) -> dict[str, str]:
    """The entries of a `torch.nn.BatchNorm2d`."""
    return {
        f"{torch}.weight": f"params/{path}/scale",
        f"{torch}.bias": f"params/{path}/bias",
        f"{torch}.running_mean": f"batch_stats/{path}/mean",
        f"{torch}.running_var": f"batch_stats/{path}/var",
    }
