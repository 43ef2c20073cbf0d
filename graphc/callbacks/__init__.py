"""What happens between the batches and epochs of `fit`. https://keras.io/api/callbacks/"""

from graphc.callbacks.averages import SwapEMAWeights
from graphc.callbacks.backup import BackupAndRestore
from graphc.callbacks.callback import Callback
from graphc.callbacks.callback_list import CallbackList
from graphc.callbacks.checkpoint import ModelCheckpoint
from graphc.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from graphc.callbacks.records import CSVLogger, History, LambdaCallback, ProgbarLogger
from graphc.callbacks.stopping import EarlyStopping, TerminateOnNaN
from graphc.callbacks.tensorboard import TensorBoard

__all__ = ["BackupAndRestore", "CSVLogger", "Callback", "CallbackList", "EarlyStopping", "History", "LambdaCallback",
           "LearningRateScheduler", "ModelCheckpoint", "ProgbarLogger", "ReduceLROnPlateau",
           "SwapEMAWeights", "TensorBoard", "TerminateOnNaN"]
