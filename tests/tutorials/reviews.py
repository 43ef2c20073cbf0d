"""A Keras script: reviews by an LSTM."""

import tensorflow as tf  # noqa: F401
from tensorflow import keras

vocab_size = 10000
maxlen = 100
(x_train, y_train), (x_test, y_test) = keras.datasets.imdb.load_data(num_words=vocab_size)
x_train = keras.preprocessing.sequence.pad_sequences(x_train, maxlen=maxlen)
x_test = keras.preprocessing.sequence.pad_sequences(x_test, maxlen=maxlen)
assert x_train.shape == (len(y_train), 100) and x_train.dtype == "int32" and x_train[0, 0] == 0

model = keras.Sequential([
    keras.layers.Embedding(vocab_size, 128, input_length=maxlen),
    keras.layers.LSTM(128),
    keras.layers.Dense(1, activation='sigmoid')
])
assert model.output_shape == (None, 1)
model.compile(optimizer='adam',
              loss='binary_crossentropy',
              metrics=['accuracy'])
model.fit(x_train, y_train, epochs=1, batch_size=64)
loss, accuracy = model.evaluate(x_test, y_test)
print('Test accuracy:', accuracy)
