"""A Keras script: learning rates, early stopping, two models side by side."""

import numpy as np
from keras.callbacks import EarlyStopping
from keras.layers import Dense
from keras.losses import MeanSquaredError
from keras.models import Sequential
from keras.optimizers import SGD

rng = np.random.default_rng(0)
predictors = rng.standard_normal((200, 5))
target = (predictors.sum(axis=1) > 0).astype(int)
n_cols = np.int64(predictors.shape[1])


def new_model(hidden, **last):
    model = Sequential()
    model.add(Dense(20, activation='relu', input_shape=(n_cols,)))
    for _ in range(hidden):
        model.add(Dense(20, activation='relu'))
    model.add(Dense(**last))
    return model


for lr in (1e-6, 0.01, 1):
    model = new_model(1, units=1, activation='sigmoid')
    model.compile(optimizer=SGD(lr=lr), loss='binary_crossentropy', metrics=['accuracy'])
    assert np.isclose(float(model.optimizer.learning_rate), lr) and np.isclose(float(model.optimizer.lr), lr)
    model.fit(predictors, target, verbose=0)

stop = EarlyStopping(patience=2)
one, two = new_model(0, units=1, activation='sigmoid'), new_model(2, units=1, activation='sigmoid')
histories = []
for model in (one, two):
    model.compile(optimizer='adam', loss='binary_crossentropy', metrics=['accuracy'])
    histories.append(model.fit(predictors, target, epochs=30, validation_split=0.3, callbacks=[stop], verbose=0))
for history in histories:
    assert {type(v) for values in history.history.values() for v in values} == {float}
    assert history.epoch == list(range(len(history.epoch))) and len(history.history['val_loss']) == len(history.epoch)

model = new_model(1, units=1)
model.compile(optimizer='adam', loss=MeanSquaredError(reduction='sum'))  # the sum of squared errors
first = model.evaluate(predictors, target, verbose=0, batch_size=200)
assert np.isclose(first, ((model.predict(predictors, verbose=0)[:, 0] - target) ** 2).sum(), rtol=1e-4)
