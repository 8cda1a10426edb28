"""gato-hep on its own toy of three classes: makes the events, learns categories as its example does, and keeps both.

    python analyses/categories/gato.py OUT [--splits 10] [--categories 10]

To be run where gato-hep is installed (`pip install gato-hep` in an environment of its own); `compare.py` goes on from there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from gatohep.data_generation import generate_toy_data_3class_3D
from gatohep.losses import high_bkg_uncertainty_penalty, low_bkg_penalty
from gatohep.models import gato_gmm_model
from gatohep.utils import LearningRateScheduler, TemperatureScheduler

EVENTS = {"n_signal1": 5_000, "n_signal2": 5_000, "n_bkg": 50_000}
STEPS = 250
Events = dict[str, dict[str, np.ndarray]]


class Categories(gato_gmm_model):
    """Gaussians in the scores of both signals; the loss of the example: the geometric mean of both significances, and its penalties."""

    def __init__(self, categories: int) -> None:
        super().__init__(n_cats=categories, dim=2, temperature=1.0, mean_norm="softmax")

    def call(self, data: Any) -> Any:
        found, background, squares = self.get_differentiable_significance(
            data, signal_labels=["signal1", "signal2"], return_details=True
        )
        penalties = low_bkg_penalty(background, threshold=5.0) + high_bkg_uncertainty_penalty(squares, background, 0.2)
        return penalties - tf.sqrt(found["signal1"] * found["signal2"])


def made(seed: int) -> Events:
    """Scores of both signals and weights, by process."""
    frames = generate_toy_data_3class_3D(**EVENTS, seed=seed)
    return {
        name: {"scores": np.stack(frame["NN_output"].values)[:, :2], "weight": frame["weight"].to_numpy()}
        for name, frame in frames.items()
    }


def train(events: Events, categories: int, seed: int) -> Categories:
    """As in gato-hep's example three_class_softmax_example, its penalties at their thresholds there, with a factor of 1."""
    tf.random.set_seed(seed)
    data = {
        name: {"NN_output": tf.constant(part["scores"], tf.float32), "weight": tf.constant(part["weight"], tf.float32)}
        for name, part in events.items()
    }
    model = Categories(categories)
    model.temperature = tf.Variable(1.0)  # so that a schedule does not compile again
    optimizer = tf.keras.optimizers.RMSprop(0.1)
    rate = LearningRateScheduler(optimizer, lr_initial=0.1, lr_final=0.001, total_epochs=STEPS, mode="cosine")

    @tf.function
    def step(temperature: Any) -> None:
        with tf.GradientTape() as tape:
            model.temperature = temperature
            loss = model.call(data)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    holder = type("Holder", (), {"temperature": 1.0})()
    schedule = TemperatureScheduler(holder, t_initial=1.0, t_final=0.05, total_epochs=STEPS, mode="cosine")
    for epoch in range(STEPS):
        rate.update(epoch)
        schedule.update(epoch)
        step(tf.constant(float(holder.temperature)))
    model.temperature = 0.05
    return model


def yields(model: Categories, events: Events, categories: int) -> np.ndarray:
    """Of each process in each category, with hard assignment; shape (processes, categories)."""
    return np.stack(
        [
            np.bincount(np.asarray(model.get_bin_indices(part["scores"])), weights=part["weight"], minlength=categories)
            for part in events.values()
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--categories", type=int, default=10)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in range(arguments.splits):
        parts = {"train": made(1 + 100 * split), "test": made(51 + 100 * split)}
        began = time.perf_counter()
        model = train(parts["train"], arguments.categories, split)
        kept: dict[str, Any] = {"seconds": time.perf_counter() - began, "processes": list(parts["train"])}
        for part, events in parts.items():
            kept[f"{part} yields"] = yields(model, events, arguments.categories)
            for name, columns in events.items():
                kept[f"{part} {name} scores"], kept[f"{part} {name} weight"] = columns["scores"], columns["weight"]
        np.savez(arguments.out / f"split-{split}.npz", **kept)


if __name__ == "__main__":
    main()
