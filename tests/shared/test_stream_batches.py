"""How what was read from several partitions is cut into transactions: nothing twice, nothing lost, all in order."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shared.stream import Slice, batches


class Record(NamedTuple):
    """All that the cutting knows of a record."""

    offset: int


def read(counts: list[int]) -> list[Slice]:
    """So many records from each partition, every other offset missing, as in a compacted topic."""
    return [
        Slice(TopicPartition("topic", number), [Record(10 + 2 * index) for index in range(count)], 10)
        for number, count in enumerate(counts)
    ]


@given(counts=st.lists(st.integers(0, 12), max_size=5), size=st.integers(1, 10))
def test_every_record_is_in_one_batch_and_each_partition_goes_on_where_it_stopped(counts: list[int], size: int) -> None:
    slices = read(counts)
    found = list(batches(slices, size))
    assert [sum(len(each.records) for each in batch) for batch in found[:-1]] == [size] * (len(found) - 1)
    applied: dict[Any, list[Record]] = {each.partition: [] for each in slices}
    position = {each.partition: each.at for each in slices}
    for each in (each for batch in found for each in batch):
        assert each.records
        assert each.at == position[each.partition]
        applied[each.partition] += each.records
        position[each.partition] = each.following
    assert applied == {each.partition: each.records for each in slices}
