"""A Keras script: the usual convolutional network on MNIST."""

import numpy as np
from tensorflow.keras.datasets import mnist
from tensorflow.keras.layers import Activation, Convolution2D, Dense, Dropout, Flatten, MaxPooling2D  # noqa: F401
from tensorflow.keras.models import Sequential
from tensorflow.keras.utils import to_categorical

(X_train, y_train), (X_test, y_test) = mnist.load_data()
assert X_train.dtype == y_train.dtype == np.uint8 and X_train.shape[1:] == (28, 28)

X_train = X_train.astype("float32") / 255
X_test = X_test.astype("float32") / 255
X_train = np.expand_dims(X_train, axis=3)
X_test = np.expand_dims(X_test, axis=3)
y_train = to_categorical(y_train)
y_test = to_categorical(y_test)
assert y_train.shape == (len(X_train), 10)

model = Sequential()
model.add(Convolution2D(32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Convolution2D(64, kernel_size=(3, 3), activation="relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dropout(0.5))
model.add(Dense(10, activation='softmax'))
model.summary()
text = []
model.summary(print_fn=text.append)
for part in ("conv2d (Conv2D)", "(None, 11, 11, 64)", "18,496", "16,010", "34,826", "Non-trainable params: 0"):
    assert part in "\n".join(text), part

model.compile('adam', loss='categorical_crossentropy', metrics=['accuracy'])
history = model.fit(X_train, y_train, batch_size=128, epochs=2, validation_split=0.1)
assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
assert history.params["steps"] == -(-int(len(X_train) * 0.9) // 128)

score = model.evaluate(X_test, y_test, verbose=0)
print("accuracy", score[1])
print("loss", score[0])
predictions = model.predict(X_test[:20])
print("predictions:", np.argmax(predictions, axis=1))
print("labels     :", np.argmax(y_test[:20], axis=1))
assert predictions.shape == (len(X_test[:20]), 10)
