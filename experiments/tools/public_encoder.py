"""Public weights of a classifier as the start of a network's encoder."""

from typing import Any

from cnn_jax.training import Variables


def with_encoder(fresh: Variables, classifier: Variables) -> dict[str, Any]:
    """Fresh variables whose encoder, `backbone/body`, is the body of a classifier."""
    changed = {name: dict(tree) for name, tree in fresh.items()}
    for name in {"params", "batch_stats"} & classifier.keys():
        changed[name]["backbone"] = {"body": classifier[name]["body"]}
    return changed
