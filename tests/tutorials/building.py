"""A Keras script: a classifier by list and by `add`, compiled twice, saved, and used again."""

import sys

import numpy as np
from keras.layers import Dense
from keras.models import Sequential, load_model
from keras.utils import to_categorical

ending = sys.argv[1]  # of the file that the model is saved to
rng = np.random.default_rng(0)
X_train, X_test = rng.random((64, 784)), rng.random((16, 784))  # float64
y_train, y_test = (X[:, 0] > 0.5 for X in (X_train, X_test))

model = Sequential([
    Dense(64, activation='relu', input_shape=(784,)),
    Dense(10, activation='softmax')
])
model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(X_train, to_categorical(rng.integers(0, 10, 64), 10), epochs=2)
predictions = model.predict(X_test)
assert isinstance(predictions, np.ndarray) and predictions.dtype == np.float32 and predictions.shape == (16, 10)

later = Sequential()  # no input shape: built by the first data
later.add(Dense(64, activation='relu'))
later.add(Dense(10, activation='softmax'))
later.compile(optimizer='adam', loss='mean_squared_error')
assert isinstance(later.fit(X_train, np.eye(10)[rng.integers(0, 10, 64)], verbose=0).history["loss"][0], float)
assert isinstance(later.evaluate(X_train, np.eye(10)[rng.integers(0, 10, 64)], verbose=0), float)
before = later.get_weights()
later.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
assert all(np.array_equal(a, b) for a, b in zip(before, later.get_weights(), strict=True))
assert int(later.optimizer.iterations) == 0

y_train_categorical, y_test_categorical = to_categorical(y_train), to_categorical(y_test)
model = Sequential([
    Dense(64, activation='relu', input_shape=(784,)),
    Dense(2, activation='softmax')
])
model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(X_train, y_train_categorical, epochs=5)
loss, accuracy = model.evaluate(X_test, y_test_categorical)
print('Test accuracy:', accuracy)
assert isinstance(loss, float) and isinstance(accuracy, float)

model.save('model' + ending)
loaded = load_model('model' + ending)
new_data = X_test[:4]
predictions = loaded.predict(new_data)
class_probabilities = predictions[0]
assert np.allclose(predictions, model.predict(new_data), atol=1e-6) and class_probabilities.shape == (2,)
assert loaded.evaluate(X_test, y_test_categorical, verbose=0) == [loss, accuracy]
assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) > 0
loaded.summary()
loaded.fit(X_train, y_train_categorical, epochs=1, verbose=0)
