"""Writes what NVIDIA's stylegan2-ada-pytorch computes, for `test_networks.py` to compare with.

    python -m tests.generators.stylegan.make_stylegan2_golden --reference=DIR --out=FILE

FILE is `stylegan2_golden.json` beside this one.
DIR is a checkout of https://github.com/NVlabs/stylegan2-ada-pytorch, the newest commit; PyTorch is
needed. Parameters and inputs are those of `stylegan2_recipe.py`, in NVIDIA's names and layout.
"""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import torch

from tests.generators.stylegan import stylegan2_recipe as recipe

# A module of ours -> one of theirs; {} stands for a size.
MODULES = {
    r"mapping/embed": "mapping.embed",
    r"mapping/dense(\d+)": "mapping.fc{}",
    r"synthesis/up(\d+)": "synthesis.b{}.conv0",
    r"synthesis/conv(\d+)": "synthesis.b{}.conv1",
    r"synthesis/image(\d+)": "synthesis.b{}.torgb",
    r"from_image": f"b{recipe.IMAGE_SIZE}.fromrgb",
    r"conv(\d+)": "b{}.conv0",
    r"down(\d+)": "b{}.conv1",
    r"skip(\d+)": "b{}.skip",
    r"last": "b4.conv",
    r"dense": "b4.fc",
    r"logits": "b4.out",
}
LEAVES = {
    "style/kernel": "affine.weight",
    "style/bias": "affine.bias",
    "kernel": "weight",
    "bias": "bias",
    "noise_strength": "noise_strength",
}


def their_name(path):
    """`synthesis/up8/style/kernel` -> `synthesis.b8.conv0.affine.weight`."""
    if path == "synthesis/constant":
        return "synthesis.b4.const"
    for leaf, their_leaf in LEAVES.items():
        for module, theirs in MODULES.items():
            match = re.fullmatch(f"{module}/{leaf}", path)
            if match:
                return f"{theirs.format(*match.groups())}.{their_leaf}"
    raise KeyError(path)


def their_layout(path, array):
    """A parameter as theirs has it."""
    if path == "synthesis/constant":
        return array.transpose(2, 0, 1)
    if array.ndim == 4:
        # Their upsampling convolves with the kernel, where all else correlates.
        turned = array[::-1, ::-1] if path.startswith("synthesis/up") else array
        return turned.transpose(3, 2, 0, 1)
    if path == "dense/kernel":
        values = array.reshape(16, -1, array.shape[1])
        return values.transpose(2, 1, 0).reshape(array.shape[::-1])
    return array.T


def fill(module, name):
    """Gives a module of theirs the recipe's parameters, and returns them by our names."""
    ours = {
        path.split("/", 1)[1]: x for path, x in recipe.named(recipe.parameters(name), name).items()
    }
    arrays = {their_name(path): their_layout(path, x) for path, x in ours.items()}
    own = dict(module.named_parameters())
    assert arrays.keys() == own.keys(), arrays.keys() ^ own.keys()
    for path, array in arrays.items():
        assert own[path].shape == array.shape, path
        own[path].data = torch.tensor(array.copy())
    return {f"{name}/{path}": own[their_name(path)] for path in ours}


def their_images(x):
    return torch.tensor(x.transpose(0, 3, 1, 2).copy())


def our_images(x):
    return x.detach().numpy().transpose(0, 2, 3, 1)


def norms(penalty, parameters):
    """The norm of the gradient by each parameter, 0 where none arrives."""
    gradients = torch.autograd.grad(penalty, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return {name: 0.0 if g is None else float(g.double().norm()) for name, g in pairs}


def generator_numbers(networks, inputs):
    """Images, and the regularisation of path lengths."""
    generator = make_generator(networks)
    parameters = fill(generator, "generator")
    for number, noise in enumerate(inputs["noise"]):
        block, layer = divmod(number + 1, 2)
        block = getattr(generator.synthesis, f"b{4 << block}")
        getattr(block, f"conv{layer}").noise_const.copy_(torch.tensor(noise[0, :, :, 0]))
    condition = torch.tensor(inputs["condition"])
    ws = generator.mapping(torch.tensor(inputs["z"]), condition)
    images = generator.synthesis(ws, noise_mode="const")
    direction = their_images(inputs["direction"]) / recipe.IMAGE_SIZE
    gradient = torch.autograd.grad((images * direction).sum(), ws, create_graph=True)[0]
    lengths = gradient.square().sum(2).mean(1).sqrt()
    penalty = (lengths - recipe.MEAN_LENGTH).square().mean()
    for block in generator.synthesis.block_resolutions:
        for layer in getattr(generator.synthesis, f"b{block}").children():
            layer.conv_clamp = recipe.CLAMP
    clamped = generator.synthesis(ws, noise_mode="const")
    return {
        "w": recipe.thinned(ws[:, 0].detach()),
        "images": recipe.thinned(our_images(images)),
        "clamped images": recipe.thinned(our_images(clamped)),
        "gradient by ws": recipe.thinned(gradient.detach()),
        "path lengths": recipe.thinned(lengths.detach()),
        "path penalty": penalty.item(),
        "path penalty's gradient": norms(penalty, parameters),
    }


def make_generator(networks, size=recipe.IMAGE_SIZE, **options):
    width = options.get("width", recipe.WIDTH)
    return networks.Generator(
        z_dim=width,
        c_dim=options.get("condition", recipe.CONDITION),
        w_dim=width,
        img_resolution=size,
        img_channels=3,
        mapping_kwargs=dict(num_layers=options.get("mapping", recipe.MAPPING_LAYERS)),
        synthesis_kwargs=options.get("channels", recipe.CHANNELS),
    ).eval()


def discriminator_numbers(networks, inputs):
    """Logits of 8 and of 4 images, and R1."""
    discriminator = make_discriminator(networks)
    parameters = fill(discriminator, "discriminator")
    condition = torch.tensor(inputs["condition"])
    images = their_images(inputs["images"]).requires_grad_()
    logits = discriminator(images, condition)
    gradient = torch.autograd.grad(logits.sum(), images, create_graph=True)[0]
    penalty = gradient.square().sum((1, 2, 3)).mean()
    plain = make_discriminator(networks, condition=0, architecture="orig")
    fill(plain, "plain")
    return {
        "logits": recipe.thinned(logits.detach()),
        "logits of 4": recipe.thinned(discriminator(images[:4], condition[:4]).detach()),
        "plain logits": recipe.thinned(plain(images, None).detach()),
        "gradient by images": recipe.thinned(our_images(gradient)),
        "r1": penalty.item(),
        "r1's gradient": norms(penalty, parameters),
    }


def make_discriminator(networks, size=recipe.IMAGE_SIZE, **options):
    return networks.Discriminator(
        c_dim=options.get("condition", recipe.CONDITION),
        img_resolution=size,
        img_channels=3,
        architecture=options.get("architecture", "resnet"),
        **options.get("channels", recipe.CHANNELS),
    )


def resampled(upfirdn2d):
    """A small image, resampled by each function with each filter."""
    x, found = their_images(recipe.draw("resampled", 1, 6, 6, 2)), {}
    for taps in recipe.TAPS:
        kernel = upfirdn2d.setup_filter(taps)
        padded = upfirdn2d.upfirdn2d(x, kernel, padding=1, gain=4)
        found[f"upsample2 {taps}"] = our_images(upfirdn2d.upsample2d(x, kernel))
        found[f"downsample2 {taps}"] = our_images(upfirdn2d.downsample2d(x, kernel))
        found[f"blur {taps}"] = our_images(padded)
    return {name: recipe.thinned(x) for name, x in found.items()}


def counts(networks):
    """Trained numbers of the published networks: (generator, discriminator)."""
    found = {}
    for name, each in recipe.PUBLISHED.items():
        options = dict(
            size=each["image_size"],
            condition=each["condition"],
            channels=dict(channel_base=each["base"], channel_max=512),
        )
        kind = "resnet" if each["residual"] else "orig"
        both = (
            make_generator(networks, width=512, mapping=each["mapping"], **options),
            make_discriminator(networks, architecture=kind, **options),
        )
        found[name] = [sum(x.numel() for x in net.parameters()) for net in both]
    return found


def rounded(x):
    """The same numbers with 8 digits."""
    if isinstance(x, dict):
        return {name: rounded(value) for name, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return x if isinstance(x, int) else float(f"{x:.8g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sys.path.insert(0, options.reference)
    networks = importlib.import_module("training.networks")
    upfirdn2d = importlib.import_module("torch_utils.ops.upfirdn2d")
    inputs = recipe.inputs()
    numbers = {
        "resampled": resampled(upfirdn2d),
        "generator": generator_numbers(networks, inputs),
        "discriminator": discriminator_numbers(networks, inputs),
        "counts": counts(networks),
    }
    lines = (f'"{name}": {json.dumps(value)}' for name, value in rounded(numbers).items())
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
