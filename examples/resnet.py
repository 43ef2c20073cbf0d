"""A small residual network (K. He et al., 2015) on CIFAR-10, with a learning rate that falls along a cosine.

    python examples/resnet.py [--epochs 20] [--rows N] [--blocks 3]

CIFAR-10 is read from ~/.keras/datasets or from the folder that GRAPHC_DATA names, which may have a part of it,
cifar10_subset.npz; otherwise it is downloaded (163 MB). Three blocks for each size of image make ResNet-20.
"""

import argparse

import graphc as keras
from graphc import layers


def convolution(x, filters, strides=1):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal",
                      kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    return layers.BatchNormalization()(x)


def block(x, filters, strides):
    inner = convolution(layers.ReLU()(convolution(x, filters, strides)), filters)
    if strides > 1:
        x = layers.Conv2D(filters, 1, strides, kernel_initializer="he_normal")(x)
    return layers.ReLU()(layers.Add()([x, inner]))


def main(epochs=20, rows=None, blocks=3):
    keras.utils.set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    x_train, y_train, x_test, y_test = (part[:rows] for part in (x_train, y_train, x_test, y_test))

    inputs = keras.Input((32, 32, 3))
    x = layers.RandomTranslation(0.1, 0.1)(layers.RandomFlip("horizontal")(layers.Rescaling(1 / 255)(inputs)))
    x = layers.ReLU()(convolution(x, 16))
    for filters in (16, 32, 64):
        for i in range(blocks):
            x = block(x, filters, 2 if i == 0 and filters > 16 else 1)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    print(f"{len(x_train)} images, {model.count_params()} parameters")

    rate = keras.optimizers.schedules.CosineDecay(0.1, epochs * -(-len(x_train) // 64))
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=epochs, batch_size=64, validation_data=(x_test, y_test), verbose=2)
    print(f"test accuracy: {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, default in (("--epochs", 20), ("--rows", None), ("--blocks", 3)):
        parser.add_argument(name, type=int, default=default)
    main(**vars(parser.parse_args()))
