"""Event files as TensorBoard reads them: protocol buffers in the frames of TFRecord, written by hand.

https://www.tensorflow.org/tutorials/load_data/tfrecord for the frames, tensorboard/compat/proto for the fields.
"""

from __future__ import annotations

import os
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["EventFile", "graph_def", "png"]

_FILES = count()


def _table() -> list[int]:
    """The CRC of each byte: Castagnoli's polynomial, reflected."""
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return rows


_CRC = _table()


def masked_crc(data: bytes) -> int:
    """The CRC-32C of the bytes, rotated and moved, so that a CRC of data that hold CRCs is a good one."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def message(fields: Iterable[tuple[int, Any]]) -> bytes:
    """A protocol buffer of (number, value): int as varint, float as double, np.float32 as float, text, bytes, and an
    array of float64 as packed doubles."""
    made = bytearray()
    for number, value in fields:
        if isinstance(value, np.float32):
            made += _varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, float):
            made += _varint(number << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, int):
            made += _varint(number << 3) + _varint(value)
        else:
            if isinstance(value, np.ndarray):
                value = value.astype("<f8").tobytes()
            data = value.encode() if isinstance(value, str) else value
            made += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(made)


class EventFile:
    """One new file of events in a folder, which is made with it."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_FILES)}.v2"
        self._file = open(folder / name, "wb")  # noqa: SIM115, it stays open until `close`
        self._event((3, "brain.Event:2"))
        self.flush()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A number."""
        self._summary(step, tag, (2, np.float32(value)))

    def histogram(self, tag: str, values: np.ndarray, step: int, buckets: int = 30) -> None:
        """How often values of an array lie in which part of their range; those that are not finite are left out."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return
        counts, edges = np.histogram(values, buckets)
        summary = message([(1, float(values.min())), (2, float(values.max())), (3, float(values.size)),
                           (4, float(values.sum())), (5, float((values * values).sum())), (6, edges[1:]),
                           (7, counts.astype(np.float64))])
        self._summary(step, tag, (5, summary))

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Pixels u8[H,W]."""
        height, width = pixels.shape
        self._summary(step, tag, (4, message([(1, height), (2, width), (3, 1), (4, png(pixels))])))

    def graph(self, definition: bytes) -> None:
        """What `graph_def` makes."""
        self._event((4, definition))

    def flush(self) -> None:
        """Let readers see what is written."""
        self._file.flush()

    def close(self) -> None:
        """Nothing more follows."""
        self._file.close()

    def _summary(self, step: int, tag: str, value: tuple[int, Any]) -> None:
        self._event((2, step), (5, message([(1, message([(1, tag), value]))])))

    def _event(self, *fields: tuple[int, Any]) -> None:
        data = message([(1, time.time()), *fields])
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))


def graph_def(nodes: Iterable[tuple[str, str, Iterable[str], Mapping[str, str]]]) -> bytes:
    """A GraphDef of nodes: name, op, names of inputs, attributes as text."""
    made = []
    for name, op, inputs, attributes in nodes:
        texts = [(5, message([(1, key), (2, message([(2, value)]))])) for key, value in attributes.items()]
        made.append((1, message([(1, name), (2, op), *((3, i) for i in inputs), *texts])))
    return message([*made, (4, message([(1, 22)]))])


def png(pixels: np.ndarray) -> bytes:
    """A grey picture u8[H,W] as PNG. https://www.w3.org/TR/png/"""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
