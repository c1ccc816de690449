"""Keras loads the files that the library wrote, finds the variables in them, and computes what the reference computes.

    GQA_LOADS_BACK=FOLDER cargo test --test loads_back
    python loads_back.py FOLDER        with what requirements.txt names; `cargo xtask keras` does both

Files marked `wrong` differ from what is expected of them: there the check must fail.
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling what runs once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
import jax
import keras
import numpy as np
from keras.src.saving import saving_lib
from safetensors.numpy import load_file

jax.config.update("jax_default_matmul_precision", "highest")
FOLDER = sys.argv[1]
# Of the largest value. Keras rounds each intermediate to half types, the reference does not.
ALLOWED = {"f32": 1e-5, "f16": 4e-3, "bf16": 2e-2}
PROJECTIONS = ["query", "key", "value", "gate", "attention_output"]


class Wrong(Exception):
    pass


def path(name):
    return os.path.join(FOLDER, name)


def close(what, got, expected, allowed):
    """Written so that a NaN fails."""
    got, expected = np.asarray(got, "float64"), np.asarray(expected, "float64")
    if got.shape != expected.shape:
        raise Wrong(f"{what}: shape {got.shape}, expected {expected.shape}")
    error = np.abs(got - expected).max() / np.abs(expected).max()
    if not error <= allowed:
        raise Wrong(f"{what}: error {error:.1e} of the largest value, {allowed:.0e} is allowed")
    return error


def same(what, got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape or got.dtype != expected.dtype or got.tobytes() != expected.tobytes():
        raise Wrong(f"{what}: differs")


def variables(layer):
    """The layer's variables by the library's names."""
    found = {}
    for projection in PROJECTIONS:
        dense = getattr(layer, f"_{projection.replace('attention_', '')}_dense", None)
        if dense is not None:
            found[f"{projection}/kernel"] = dense.kernel
            if dense.bias is not None:
                found[f"{projection}/bias"] = dense.bias
    return found


class Holder(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.attention = layer

    def call(self, inputs):
        return self.attention(*inputs)


class Block(keras.layers.Layer):
    def __init__(self, layer):
        super().__init__()
        self.attn = layer

    def build(self, query_shape, value_shape, key_shape):
        self.attn.build(query_shape, value_shape, key_shape)

    def call(self, query, value, key):
        return self.attn(query, value, key=key)

    def compute_output_shape(self, query_shape, value_shape, key_shape):
        return query_shape


def attention_of(model, name):
    for part in name.split("/"):
        model = model.get_layer(part)
    return model


def restored(row, inputs):
    """The layer with its variables from the file, and its output on the inputs."""
    file, form = path(row["file"]), row["form"]
    arguments = inputs[:2] + [None] * (3 - len(inputs)) + inputs[2:]
    if form in ("archive", "replaced"):
        model = keras.models.load_model(file)
        if form == "replaced":
            layer = attention_of(model, row["layer"])
            check_rest(model, keras.models.load_model(row["original"]), layer)
            return layer, layer(*inputs)
        names = [x.name for x in model.inputs]
        if len(names) != len(inputs):
            raise Wrong(f"the model has the inputs {names}")
        (layer,) = [layer for layer in model.layers if "Attention" in type(layer).__name__]
        return layer, model(inputs)
    with open(path(f"{row['name']}.json")) as config:
        layer = keras.saving.deserialize_keras_object(json.load(config))
    if form == "functional":
        # Under another name, as in a program that builds its model anew.
        config = {**layer.get_config(), "name": "renamed"}
        layer = type(layer).from_config(config)
        given = [keras.Input((None, x.shape[-1])) for x in inputs]
        call = {"use_causal_mask": True} if row["causal"] else {}
        model = keras.Model(given, layer(*given, **call))
        model.load_weights(file)
        return layer, model(inputs)
    if form == "attribute":
        model = Holder(layer)
        model(inputs)
        model.load_weights(file)
        return layer, model(inputs)
    if form == "block":
        # Its first block has no variables in the file, which Keras is told to put up with.
        other = type(layer).from_config({**layer.get_config(), "name": "first"})
        given = [keras.Input((None, x.shape[-1])) for x in inputs]
        model = keras.Model(given, Block(layer)(Block(other)(*given), *given[1:]))
        model.load_weights(file, skip_mismatch=True)
    else:
        layer.build(*[x.shape for x in inputs])
        saving_lib.load_weights_only(layer, file)
    return layer, layer(*inputs)


def check_rest(model, original, layer):
    """Everything but this layer's variables is as it was."""
    own = {id(v) for v in variables(layer).values()}
    pairs = list(zip(model.variables, original.variables, strict=True))
    kept = [(new, old) for new, old in pairs if id(new) not in own]
    if len(pairs) - len(kept) != len(own):
        raise Wrong("the layer's variables are not the model's")
    for new, old in kept:
        if not new.path.endswith("seed_generator_state"):  # Not saved: drawn anew by each load.
            same(new.path, new, old)
    optimizers = [getattr(m, "optimizer", None) for m in (model, original)]
    if (optimizers[0] is None) != (optimizers[1] is None):
        raise Wrong("the optimizer is gone")
    if optimizers[0] is not None:
        for new, old in zip(*(optimizer.variables for optimizer in optimizers), strict=True):
            same(new.path, new, old)
    if model.get_config() != original.get_config():
        raise Wrong("the configuration differs")


def check(row):
    keras.utils.set_random_seed(3)
    tensors = load_file(path(f"{row['name']}.inputs.safetensors"))
    inputs = [tensors[name] for name in ("query", "value", "key") if name in tensors]
    layer, output = restored(row, inputs)
    expected = load_file(path(f"{row['name']}.variables.safetensors"))
    found = variables(layer)
    if found.keys() != expected.keys():
        raise Wrong(f"the variables {sorted(found)}, expected {sorted(expected)}")
    for name, variable in found.items():
        if not row.get("wrong"):  # There the output alone has to tell.
            same(name, variable, expected[name].astype(np.asarray(variable).dtype))
    with open(path(f"{row['name']}.json")) as file:
        told = keras.saving.deserialize_keras_object(json.load(file)).get_config()
    if row["form"] == "archive" and layer.get_config() != told:
        raise Wrong(f"the configuration {layer.get_config()}, expected {told}")
    expected = load_file(path(f"{row['name']}.expected.safetensors"))["attention_output"]
    return close("attention_output", output, expected, ALLOWED[row["dtype"]])


def comparisons_fail():
    """The comparisons see planted faults."""
    right = np.arange(6, dtype="float32").reshape(2, 3)
    nan, off = right.copy(), right.copy()
    nan[1, 1], off[1, 1] = np.nan, off[1, 1] + 1e-3
    for compare in (lambda x: close("", x, right, 1e-5), lambda x: same("", x, right)):
        compare(right.copy())
        for planted in (nan, off, right.T, right.reshape(-1)):
            try:
                compare(planted)
            except Wrong:
                continue
            sys.exit("a planted fault was not seen")


def main():
    comparisons_fail()
    with open(path("index.json")) as file:
        rows = json.load(file)
    old = not hasattr(keras.layers.GroupQueryAttention(1, 1, 1), "use_gate")
    failed, passed, left_out = 0, 0, 0
    for row in rows:
        if old and row["newer"]:
            left_out += 1
            continue
        try:
            told = f"error {check(row):.1e}"
            good = not row.get("wrong")
            told = told if good else f"{told}: it must fail, and passed"
        except Wrong as fault:
            told, good = str(fault), bool(row.get("wrong"))
        except Exception as fault:
            told, good = f"{type(fault).__name__}: {fault}", False
        print(f"{'ok    ' if good else 'FAILED'} {row['name']}: {told}")
        passed, failed = passed + good, failed + (not good)
    also = f", {left_out} left out that this Keras is too old for" if left_out else ""
    print(f"Keras {keras.__version__}: {passed} files as they should be, {failed} not{also}")
    if failed or passed < 20:
        sys.exit(1)


main()
