"""Records torchvision's DeepLabV3: python -m tests.references.record_segmentation

Needs torch and torchvision (see torchvision_models.py). Writes deeplabv3_small.json beside this
file: DeepLabV3 with an auxiliary FCN head on a small ResNet.
"""

from tests.pretrained.test_segmentation_parity import SIZE, SMALL, drawn_weights, small_network
from tests.references.records import write_record
from tests.references.segmentation import images_and_masks, reference, torch_network


def main():
    state, data, arrays = drawn_weights(small_network()), images_and_masks(2, *SIZE), {}
    for mode, train in (("eval", False), ("train", True)):
        values = reference(torch_network("deeplabv3", SMALL), state, *data, train=train)
        # Gradients in evaluation would double the record.
        kept = {key: value for key, value in values.items() if train or "gradients" not in key}
        arrays |= {f"{mode}/{key}": value for key, value in kept.items()}
    write_record("deeplabv3_small", arrays)


if __name__ == "__main__":
    main()
