"""What Kafka's own tools would stumble over."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploy.local.home import Home
from deploy.local.kafka import cluster_id, prepare


@given(st.uuids())
def test_a_cluster_id_is_sixteen_bytes_and_never_looks_like_an_option(seed: uuid.UUID) -> None:
    assert cluster_id(seed)[0].isalpha()
    assert len(base64.urlsafe_b64decode(cluster_id(seed) + "==")) == 16


async def test_a_folder_with_letters_of_other_languages_is_written_as_java_reads_it(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "Özgür")
    home.claim()
    (home.kafka / "data").mkdir(parents=True)
    (home.kafka / "data" / "meta.properties").touch()
    await prepare(home, 9092, 9093, run=(), unpacked=tmp_path / "unpacked")
    lines = (home.kafka / "server.properties").read_text(encoding="ascii").splitlines()
    assert f"log.dirs={tmp_path}/\\u00d6zg\\u00fcr/kafka/data" in lines
