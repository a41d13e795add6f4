"""PyTorch's names and the paths in our variables, layer by layer, for a model's `torch_names`.

Each function returns the entries of one layer. `torch` is the layer's name in a state dict, and
`path` is our path without the collection, such as "body/stem_conv".
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


def below(torch: str, path: str, names: dict[str, str]) -> dict[str, str]:
    """The entries of a module's own `torch_names`, where it is a part of another module."""
    placed = {}
    for name, variable in names.items():
        collection, _, rest = variable.partition("/")
        placed[f"{torch}.{name}"] = f"{collection}/{path}/{rest}"
    return placed
