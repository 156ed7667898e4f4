"""The config: declared keys, what is refused, and how it is stored and compared."""

import ast
import json
import re

import pytest

from mmgen_jax import config as configs
from mmgen_jax.data import SOURCES, DataOptions
from mmgen_jax.errors import InputError
from mmgen_jax.schema import at_least, leaves
from tests.folders import paint, write
from tests.launching import ROOT


def library_files(*but):
    files = [path for top in ("mmgen_jax", "launch") for path in (ROOT / top).rglob("*.py")]
    return [path for path in files if path.name not in but]


def test_every_key_has_a_meaning_and_an_allowed_default():
    for path, key in configs.all_keys().items():
        assert key.meaning.strip() and key.rule.allowed, path
        assert key.rule.allows(key.default), path
    configs.validate(configs.default())


def test_every_key_does_something():
    """A key that no code reads would be a dead option."""
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in library_files("config.py", "schema.py", "validation.py")
    )
    names = {path.rpartition(".")[2] for path in configs.all_keys()}
    unused = {name for name in names if not re.search(rf'\.{name}\b|"{name}"', source)}
    assert not unused


def test_the_default_is_all_keys_and_locked():
    config = configs.default()
    assert dict(leaves(config)) == {path: key.default for path, key in configs.all_keys().items()}
    for group in (config, config.train, config.generator.flow.sample):
        with pytest.raises(AttributeError):
            group.foo = 1
    with pytest.raises(TypeError):
        config.train.steps = "many"


def test_a_default_is_nobody_elses():
    changed = configs.default()
    changed.train.steps += 1
    assert configs.default().train.steps == changed.train.steps - 1


def test_no_default_hides_in_the_library():
    """A key is declared or it is an error: no `config.get(key, default)`."""
    groups = {"config", "options", "recipe", *configs.default()}
    for path in [*library_files(), *(ROOT / "configs").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "get":
                words = set(re.findall(r"\w+", ast.unparse(node.func.value)))
                assert not words & groups, f"{path}:{node.lineno}"


def test_a_declaration_holds_its_own_default():
    with pytest.raises(InputError, match=r"^'a half' is declared with 0\.5; .* at least 1"):
        configs.option(0.5, "a half", at_least(1))


def test_the_elements_of_an_empty_tuple_may_be_declared():
    key = configs.Key((), "sizes", configs.ANY, element=int)
    assert key.refusal((1, 2)) is None and key.refusal(()) is None
    assert key.refusal(("a",)) == "a tuple of whole numbers"
    assert configs.Key((), "names", configs.ANY).refusal((1,)) == "a tuple of texts of one line"


def test_an_input_must_not_go_by_the_name_of_another_kind():
    with pytest.raises(InputError, match=r"input 'text' of kind 'image' has the name of another"):
        configs.default({"text": "image"})


def changed(**values):
    """The default at 32 pixels, with values of dotted keys, written with __ for the dots."""
    config = configs.default()
    config.data.image_size = 32
    for path, value in values.items():
        *groups, name = path.split("__")
        node = config
        for group in groups:
            node = node[group]
        node[name] = value
    return config


def assert_refused(config, *words, devices=None):
    with pytest.raises(InputError) as refusal:
        configs.validate(config, devices)
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message


# Values that cannot work -> what the message holds: the key, the value, what is allowed.
REFUSED = [
    ({"data__name": "cats"}, ("config.data.name", "'cats'", "shapes", "emoji")),
    ({"data__split": "night"}, ("config.data.split", "'night'", "train", "test")),
    ({"eval__split": "night"}, ("config.eval.split", "'night'", "train", "test")),
    ({"data__image_size": 0}, ("config.data.image_size", "0", "at least")),
    (
        {"data__image_size": 36, "generator__flow__patch_size": 8},
        ("generator.flow.patch_size = 8", "image_size = 36", "divisors"),
    ),
    ({"data__on_bad_record": "weep"}, ("config.data.on_bad_record", "'weep'", "raise", "skip")),
    ({"generator__name": "magic"}, ("config.generator.name", "'magic'", "flow")),
    ({"generator__flow__patch_size": 7}, ("config.generator.flow.patch_size = 7", "divisors")),
    (
        {"generator__flow__num_heads": 5, "generator__flow__width": 64},
        ("config.generator.flow.num_heads = 5", "64", "divisors"),
    ),
    ({"generator__flow__sample__solver": "rk"}, ("sample.solver", "'rk'", "euler", "heun")),
    (
        {"objective__recovery_patch_size": 7},
        ("config.objective.recovery_patch_size = 7", "divisors"),
    ),
    ({"data__languages": ("de",)}, ("config.data.languages", "'shapes'", "allowed: empty")),
    ({"data__features__text": "name"}, ("config.data.features.text = 'name'", "allowed: empty")),
    (
        {
            "modalities__names": ("audio",),
            "modalities__audio__frames_per_token": 49,
            "modalities__audio__seconds": 0.5,
        },
        ("config.modalities.audio.frames_per_token = 49", "seconds = 0.5", "1 to 48"),
    ),
    (
        {"modalities__text__encoder": "glove"},
        ("config.modalities.text.encoder_path = ''", "'glove'", "word vectors"),
    ),
    ({"modalities__names": ()}, ("config.modalities.names", "text, label")),
    ({"modalities__names": ("text", "text")}, ("config.modalities.names", "twice")),
    (
        {"modalities__names": ("smell",)},
        ("config.modalities.names", "modality 'smell'", "text, label, audio, image"),
    ),
    ({"modalities__label__guidance": 1e38}, ("label.guidance = 1e+38", "at most 100")),
    ({"modalities__label__guidance": float("inf")}, ("label.guidance = inf", "a finite number")),
    ({"tokenizer__run": "runs/kl"}, ("config.tokenizer.run = 'runs/kl'", "tokenizer.family")),
    (
        {"modalities__text__num_heads": 4, "modalities__text__width": 20},
        ("config.modalities.text.num_heads = 4", "20", "divisors"),
    ),
    ({"modalities__text__keep_rate": 1.1}, ("config.modalities.text.keep_rate = 1.1", "0 to 1")),
    (
        {"fusion__keep_all_rate": 0.6, "fusion__drop_all_rate": 0.5},
        ("keep_all_rate", "drop_all_rate", "at most 1"),
    ),
    ({"optimizer__generator__name": "sgd"}, ("optimizer.generator.name", "'sgd'", "adamw", "muon")),
    (
        {"optimizer__generator__update_every": 0},
        ("optimizer.generator.update_every = 0", "at least 1"),
    ),
    ({"optimizer__generator__learning_rate": float("nan")}, ("learning_rate = nan",)),
    ({"train__dtype": "int4"}, ("config.train.dtype", "'int4'", "float32", "bfloat16")),
    (
        {"train__batch_size": 64, "train__grad_accum_steps": 3},
        ("config.train.grad_accum_steps = 3", "batch_size = 64", "divisors"),
    ),
    ({"sharding__data": 0}, ("config.sharding.data = 0", "-1")),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=lambda x: " ".join(x))
def test_what_cannot_work_is_refused(values, words):
    assert_refused(changed(**values), *words)


@pytest.mark.parametrize(
    ("splits", "asked", "settled"),
    [
        ("train validation", "test", "validation"),
        ("train val", "test", "val"),
        ("dev train", "test", "dev"),
        ("train valid", "test", "valid"),
        ("train val validation", "test", "validation"),
        ("train test validation", "test", "test"),
        ("train validation", "train", "train"),
        ("train validation", "validation[:10]", "validation[:10]"),
    ],
)
def test_without_a_test_split_the_validation_split_is_taken(
    tmp_path, capsys, splits, asked, settled
):
    for split in splits.split():
        paint(tmp_path / split / "a.png")
        write(tmp_path / split, {"file_name": "a.png", "label": split})
    config = changed(data__name="folder", data__path=str(tmp_path), eval__split=asked)
    config.modalities.names = ("label",)
    for said in (asked != settled, False):  # a launcher checks a config before and after jax
        configs.validate(config)
        assert config.eval.split == settled
        out, err = capsys.readouterr()
        assert not out and bool(err) == said and err.count("\n") == said
        assert not said or (f"'{settled}'" in err and "--config.eval.split" in err)


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("training validation", ("config.data.split = 'train'", "training, validation",
                                 "--config.data.split=training --config.eval.split=validation")),
        ("a b", ("--config.data.split=a --config.eval.split=b",)),
        ("held_out train", ("config.eval.split = 'test'", "--config.data.split=train",
                            "--config.eval.split=held_out")),
        ("train", ("config.eval.split = 'test'", "--config.eval.split=train")),
        ("all", ("--config.data.split=all --config.eval.split=all",)),
    ],
)  # fmt: skip
def test_splits_of_other_names_are_named_with_the_flags(tmp_path, splits, words):
    for split in splits.split():
        paint(tmp_path / split / "a.png")
        write(tmp_path / split, {"file_name": "a.png", "label": split})
    config = changed(data__name="folder", data__path=str(tmp_path))
    config.modalities.names = ("label",)
    assert_refused(config, *words)


def test_a_modality_that_the_data_lacks(monkeypatch):
    lacking = DataOptions.of(configs.default()).describe()._replace(modalities=("text", "image"))
    spec = SOURCES["shapes"]._replace(describe=lambda options: lacking)
    monkeypatch.setitem(SOURCES._targets, "shapes", spec)
    config = changed(modalities__names=("text", "audio"))
    assert_refused(config, "'shapes'", "no modality 'audio'", "text, image")


def test_the_patch_of_a_modality_that_is_not_used_is_free():
    config = changed(modalities__image__patch_size=7)
    configs.validate(config)
    config.modalities.names = ("image",)
    assert_refused(config, "config.modalities.image.patch_size = 7", "divisors")


@pytest.mark.parametrize("family", ["autoencoder", "gan", "stylegan", "vae"])
def test_families_that_draw_in_one_pass_take_a_modality_or_leave_it(family):
    config = changed(generator__name=family, modalities__label__guidance=0.0)
    configs.validate(config)
    config.modalities.label.guidance = 2.0
    words = (f"'{family}'", "config.modalities.label.guidance = 2", "allowed: 0, 1")
    assert_refused(config, *words)
    config.generator.name = "flow"
    configs.validate(config)


@pytest.mark.parametrize(
    ("family", "options", "words"),
    [
        (
            "gan",
            {"patch_size": 4, "widths": (8, 8, 8, 8, 8)},
            ("patch_size = 4", "5 widths", "of 64"),
        ),
        ("gan", {"discriminator_widths": (8,) * 7}, ("7 discriminator_widths", "of 64")),
        ("gan", {"objective": "hinge"}, ("'hinge'", "'r3gan', 'gan_cls'")),
        ("gan", {"widths": ()}, ("gan.widths", "at least one")),
        ("stylegan", {"augment": "blit+blur"}, ("'blit+blur'", "geometry", "none")),
        ("stylegan", {"augment_target": 60.0}, ("augment_target = 60", "-1 to 1")),
        ("stylegan", {"channel_base": 16}, ("channel_base = 16", "32 x 32", "at least 32")),
        ("autoencoder", {"decoder_widths": (8,) * 5}, ("image_size = 32", "multiples of 64")),
        ("vae", {"latent_sides": (1, 3)}, ("latent_sides = (1, 3)", "4 patches", "divisors of 4")),
    ],
)
def test_families_refuse_what_cannot_work(family, options, words):
    config = changed(generator__name=family)
    config.generator[family].update(options)
    assert_refused(config, *words)


def test_lazy_terms_and_players_that_rest_must_meet():
    """At every second step, with the term at every sixteenth, it would come to one in eight."""
    config = changed(generator__name="stylegan", optimizer__discriminator__update_every=3)
    config.generator.stylegan.path_every = 5
    configs.validate(config)
    config.optimizer.discriminator.update_every = 2
    words = (
        "stylegan.r1_every = 16",
        "config.optimizer.discriminator.update_every = 2",
        "no common",
    )
    assert_refused(config, *words)


def test_pictures_may_be_oblong_where_data_and_family_allow_it(tmp_path):
    paint(tmp_path / "a.png")
    write(tmp_path, {"file_name": "a.png", "label": "a", "text": "a"})
    config = changed(data__image_width=48)
    assert_refused(config, "config.data.image_width = 48", "'shapes' is drawn in squares")
    config.data.name, config.data.path = "folder", str(tmp_path)
    configs.validate(config)
    config.generator.flow.patch_size = config.objective.recovery_patch_size = 32
    assert_refused(config, "flow.patch_size = 32", "config.data.image_width = 48", "divisors")
    for family in ("gan", "stylegan", "autoencoder", "vae"):
        config.generator.name = family
        allowed = "one of flow, vqvae, dalle"
        assert_refused(config, "image_width = 48 with image_size = 32", f"'{family}'", allowed)
    config.data.image_width = 4
    assert_refused(config, "config.data.image_width = 4", "0, or at least 8")


def test_a_tokenizers_latents_need_a_tokenizer():
    config = changed(tokenizer__latents="somewhere")
    assert_refused(config, "config.tokenizer.latents = 'somewhere'", "allowed: ''")


def test_weights_are_a_dits():
    config = changed(generator__flow__weights="dit.safetensors")
    words = ("flow.weights = 'dit.safetensors'", "architecture = 'mmdit'", "allowed: architecture")
    assert_refused(config, *words)
    config.generator.flow.architecture = "dit"
    configs.validate(config)


def test_stylegan_wants_powers_of_two_patches():
    config = changed(generator__name="stylegan", data__image_size=24)
    words = ("config.data.image_size = 24", "stylegan.patch_size = 1", "1 times a power of 2")
    assert_refused(config, *words)
    config.data.image_size = 48
    config.generator.stylegan.patch_size = 3
    configs.validate(config)
    config.generator.stylegan.patch_size = 16
    assert_refused(config, "config.data.image_size = 48", "stylegan.patch_size = 16", "at least 4")


def test_devices():
    config = changed(train__batch_size=24, train__grad_accum_steps=2)
    for count in (None, 1, 2, 4):
        configs.validate(config, count)
    words = ("config.train.batch_size = 24", "2 parts", "8 devices", "multiples of 16")
    assert_refused(config, *words, devices=8)
    config.sharding.data = 4
    configs.validate(config, 8)
    assert_refused(config, "config.sharding.data = 4", "at most 2", devices=2)


def test_json_round_trip(tmp_path):
    path = tmp_path / "config.json"
    config = changed(modalities__names=("audio", "label"), train__steps=7, data__path="données")
    configs.save(config, path)
    loaded = configs.load(path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.is_locked and loaded.modalities.names == ("audio", "label")
    assert configs.differences(config, loaded) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ("cannot read", "No such file")),
        ("{", ("cannot read",)),
        ("[1]", ("cannot read", "no JSON object")),
        ('{"train": {"stepz": 1}}', ("unknown config key train.stepz",)),
        ('{"train": 3}', ("unknown config key train ",)),
        ('{"train": {"steps": "many"}}', ("config.train.steps = 'many'",)),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, words):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        configs.load(path)
    for word in (*words, str(path)):
        assert word in str(refusal.value)


def test_differences_name_the_key_and_both_values():
    old, new = configs.default(), changed(train__steps=7, modalities__names=("label",))
    new.data.image_size = old.data.image_size
    names, steps = configs.differences(old, new)
    assert names == f"modalities.names: {old.modalities.names!r} -> ('label',)"
    assert steps == f"train.steps: {old.train.steps} -> 7"


def test_an_unknown_key_is_refused():
    config = configs.default().unlock()
    config.train.stepz = 3
    assert_refused(config, "unknown config key train.stepz")


def test_a_recipe_argument():
    defaults = {"data": "shapes", "size": "tiny"}
    assert configs.parse_argument(None, defaults) == defaults
    assert configs.parse_argument("", defaults) == defaults
    assert configs.parse_argument("size=xl", defaults) == {"data": "shapes", "size": "xl"}
    assert configs.parse_argument("size=a=b", defaults)["size"] == "a=b"
    assert defaults == {"data": "shapes", "size": "tiny"}


@pytest.mark.parametrize("argument", ("sise=xl", "xl", "data=emoji,=x"))
def test_a_recipe_argument_that_is_unknown(argument):
    with pytest.raises(InputError, match=r"unknown recipe argument .* data=\.\.\., size=\.\.\."):
        configs.parse_argument(argument, {"data": "shapes", "size": "tiny"})


def test_modality_names():
    assert configs.parse_inputs("text+label") == {"text": "text", "label": "label"}
    for joined, unknown in (("text+smell", "smell"), ("text+", ""), ("", "")):
        with pytest.raises(InputError, match=f"unknown modality '{unknown}'; allowed: text, label"):
            configs.parse_inputs(joined)


def test_choose():
    assert configs.choose("size", "xl", {"xl": 3, "s": 1}) == 3
    with pytest.raises(InputError, match="unknown size 'xs'; allowed: xl, s"):
        configs.choose("size", "xs", {"xl": 3, "s": 1})


def test_saved_configs_are_plain_json(tmp_path):
    configs.save(configs.default(), tmp_path / "config.json")
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved["train"]["steps"] == configs.default().train.steps
    assert dict(leaves(saved)).keys() == configs.all_keys().keys()


@pytest.mark.parametrize(
    ("joined", "words"),
    [
        ("text+Sketch:image", ("'Sketch' is no name", "sketch:image")),
        ("names:image", ("'names' is no name",)),
        ("a:image+a:text", ("'a' is named twice",)),
        ("text:image", ("'text' of kind 'image' has the name of another kind",)),
        ("a:smell", ("unknown modality 'smell'", "text, label, audio, image")),
    ],
)
def test_inputs_that_cannot_be_named_so(joined, words):
    with pytest.raises(InputError) as refusal:
        configs.parse_inputs(joined)
    for word in words:
        assert word in str(refusal.value)


def test_inputs_of_one_kind_have_options_of_their_own():
    inputs = configs.parse_inputs("text+sketch:image+style:image")
    assert inputs == {"text": "text", "sketch": "image", "style": "image"}
    config = configs.default({"sketch": "image", "style": "image"})
    config.modalities.names = tuple(inputs)
    config.modalities.sketch.width, config.modalities.style.width = 32, 64
    again = configs.from_dict(json.loads(json.dumps(config.to_dict())), "a file")
    assert (again.modalities.sketch.width, again.modalities.style.width) == (32, 64)
    assert again.modalities.style.kind == "image"
    assert configs.differences(config, again) == []
    config.modalities.style.patch_size = 7
    assert_refused(config, "config.modalities.style.patch_size = 7", "divisors")
