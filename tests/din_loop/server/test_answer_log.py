"""The server's log holds what was answered, whole files only, whatever ends the process."""

import errno
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from din import cli
from din.base.errors import InputError
from din_loop.served_log import FILES, OPEN, SCHEMA, files, publish
from din_loop.server import answer_log as logs
from din_loop.server import metrics
from din_loop.server.answer_log import AnswerLog
from din_loop.server.answers import Answer

REQUEST = {
    "user": {"user_id": 3, "age": 30},
    "history": ["i4", {"item_id": "i5", "rating": 4}],
    "candidates": ["i6", 7],
}
LOGGED, LOST = (counter.labels("champion") for counter in (metrics.LOGGED, metrics.LOG_LOST))
NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC


def rows(folder: Path) -> list[dict]:
    """Return the rows of the published files, by time and id."""
    files = sorted(folder.glob(FILES))
    logged = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return sorted(logged, key=lambda row: (row["answered_at"], row["request_id"]))


def answer(number: int, user: object = 3) -> Answer:
    request = {"user": {"user_id": user}, "candidates": [number, {"item_id": 8.0}, None]}
    return Answer(b"", "v1", [request], [[0.1, 0.2, 0.3]], [f"r{number}"])


def put(log: AnswerLog, number: int, size: int = 1) -> None:
    log.put(log.drawn(answer(number)), size)


def finish(log: AnswerLog) -> None:
    log.start()
    log.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "served"


def test_a_row_for_each_request(steady, serving, folder: Path) -> None:
    """Answers carry the ids of their rows, which hold the request, the version and the probabilities."""
    tensor = {"name": "request", "datatype": "BYTES", "shape": [1], "data": [json.dumps(REQUEST)]}
    logged = LOGGED._value.get()
    with serving(steady.deploy(log=str(folder))) as client:
        explained = client.post("/v1/score?explain=1", json=REQUEST).json()  # the row is as without it
        listed = client.post("/v1/score", json=[REQUEST, {"candidates": ["i1"]}]).json()
        inferred = client.post("/v2/models/log/infer", json={"inputs": [tensor]}).json()
        assert client.post("/v1/score", content=b"3").status_code == 422
    assert LOGGED._value.get() - logged == 4
    rows_by_id = {row["request_id"]: row for row in rows(folder)}
    expected = dict(zip(listed["request_id"], listed["probabilities"], strict=True))
    expected[explained["request_id"]] = explained["probabilities"]
    expected[inferred["parameters"]["request_id"]] = inferred["outputs"][0]["data"]
    assert {name: row["probabilities"] for name, row in rows_by_id.items()} == expected
    row = rows_by_id[explained["request_id"]]
    assert (row["version"], row["user_id"], row["items"]) == (explained["version"], "3", ["i6", "7"])
    assert json.loads(row["request"]) == REQUEST and row["hashed"] is False


def test_no_answer_waits_for_a_sample(steady, serving, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are drawn by the thread that scores them, because the event loop serves all connections."""
    drawn, threads = AnswerLog._is_drawn, set()

    def noted(log, scored) -> bool:
        threads.add(threading.current_thread().name.partition("_")[0])
        return drawn(log, scored)

    monkeypatch.setattr(AnswerLog, "_is_drawn", noted)
    with serving(steady.deploy(log=str(folder))) as client:
        client.post("/v1/score", json=[REQUEST] * 9)
    assert len(rows(folder)) == 9 and threads == {"score"}


def test_people_are_sampled_and_hashed(folder: Path, tmp_path: Path) -> None:
    """All requests of a user are in the sample or none, and with a key no file holds an id."""
    key = tmp_path / "key"
    key.write_text("k" * 32)
    log = AnswerLog(folder, share=0.5, key=str(key))
    log.start()
    for number in range(400):
        log.put(log.drawn(answer(number, f"user-{number % 40}")), 100)
    log.close()
    logged = rows(folder)
    counts = duckdb.sql(f"SELECT count(*) FROM '{folder}/{FILES}' GROUP BY user_id").fetchall()
    assert 8 < len(counts) < 32 and set(counts) == {(10,)}
    hashes = [hmac.new(b"k" * 32, f"user-{user}".encode(), "sha256").hexdigest()[:32] for user in range(40)]
    assert {row["user_id"] for row in logged} < {*hashes}  # as docs/served-log.md says, so that clients can send them
    assert all(row["hashed"] and "user-" not in row["request"] for row in logged)


def test_odd_ids(folder: Path) -> None:
    """Whatever the model ignores is logged, without an id that can't be one."""
    log = AnswerLog(folder)
    log.start()
    requests = [{"user": {"user_id": [7]}, "candidates": []}, {"candidates": [7.0]}]
    log.put(log.drawn(Answer(b"", "v", requests, [[], [1.0]], ["a", "b"])), 9)
    log.close()
    assert [(row["user_id"], row["items"]) for row in rows(folder)] == [(None, []), (None, ["7"])]


def test_too_many_are_dropped_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for waiting answers has an end, but a body larger than it is logged alone."""
    lost = LOST._value.get()
    log = AnswerLog(folder)
    for most, numbers in ((250, range(5)), (50, range(5, 6))):
        monkeypatch.setattr(logs, "_MOST_WAITING", most)
        for number in numbers:
            put(log, number, 100)
        log._turn()
    finish(log)
    assert [row["request_id"] for row in rows(folder)] == ["r0", "r1", "r5"]
    assert LOST._value.get() - lost == 3


def test_users_outside_the_sample_take_no_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They neither wait nor count as lost."""
    monkeypatch.setattr(logs, "_MOST_WAITING", 50)
    lost = LOST._value.get()
    log = AnswerLog(folder, 0.0)
    for number in range(2):
        put(log, number, 100)
    assert LOST._value.get() == lost


def test_an_unforeseen_error(folder: Path) -> None:
    """The thread outlives it, and what it lost is counted."""
    log = AnswerLog(folder, clock=lambda: NOON)
    lost = LOST._value.get()
    log.put(log.drawn(replace(answer(0), requests=[{}])), 1)
    log._turn()
    put(log, 1)
    finish(log)
    assert [row["request_id"] for row in rows(folder)] == ["r1"] and LOST._value.get() - lost == 1


def test_an_unforeseen_error_of_publishing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is published by a later attempt, and answers are logged in the meantime."""
    now = NOON
    log = AnswerLog(folder, clock=lambda: now)
    put(log, 0)
    log._turn()
    now += 3600
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", Mock(side_effect=MemoryError))
        log._turn()
    put(log, 1)
    finish(log)
    assert {row["request_id"] for row in rows(folder)} == {"r0", "r1"}


def test_a_file_of_somebody_else(folder: Path) -> None:
    """A file whose name is not that of an open file is left alone."""
    foreign = left(folder, 1)
    foreign = foreign.rename(foreign.with_name("foo.arrows"))
    AnswerLog(folder)
    assert foreign.exists() and not files(folder)


def test_options_without_a_log() -> None:
    """A key that would protect nobody is refused."""
    done = CliRunner().invoke(cli.app, ["serve", "--log-key", "key"])
    assert done.exit_code == 2 and "--log-key and --log-share need --log" in done.stderr


@pytest.mark.parametrize(("most", "files"), [(1, 5), (1 << 20, 3)])
def test_files_by_hour_and_size(most: int, files: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds one hour at most, and a large one is published early."""
    monkeypatch.setattr(logs, "_MOST_OPEN", most)
    now = NOON
    log = AnswerLog(folder, clock=lambda: now)
    for number, later in enumerate([0, 1, 3600, 86400, 86401]):
        now = NOON + later
        put(log, number)
        log._turn()
    finish(log)
    assert len(list(folder.glob(FILES))) == files
    assert sorted({path.parent.relative_to(folder).as_posix() for path in folder.glob(FILES)}) == [
        "date=2023-11-15/hour=12",
        "date=2023-11-15/hour=13",
        "date=2023-11-16/hour=12",
    ]
    assert [row["request_id"] for row in rows(folder)] == [f"r{number}" for number in range(5)]
    assert pq.read_schema(next(folder.glob(FILES))).equals(SCHEMA)


def test_an_open_file_cut_anywhere(folder: Path) -> None:
    """The batches before the cut are published, once."""
    log = AnswerLog(folder, clock=lambda: NOON)
    for number in range(3):
        put(log, number)
        log._turn()
    (path,) = (folder / OPEN).glob("*.arrows")
    content = path.read_bytes()
    publish(folder)
    assert not rows(folder)  # a process writes it
    log._leave()
    counts = []
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        publish(folder)
        counts.append(len(rows(folder)))
        assert not list((folder / OPEN).glob("*.arrows"))
        for file in folder.glob(FILES):
            file.unlink()
    assert counts == sorted(counts) and set(counts) >= {0, 1, 2}


def test_a_kill_loses_a_second_at_most(folder: Path) -> None:
    """The next process publishes what the killed one wrote."""
    code = "import sys; from pathlib import Path; from din_loop.server.answers import Answer\n"
    code += "from din_loop.server.answer_log import AnswerLog\n"
    code += "log = AnswerLog(Path(sys.argv[1])); log.start(); request = {'candidates': [1]}\n"
    code += "for n in range(50): log.put(log.drawn(Answer(b'', 'v', [request], [[0.5]], [str(n)])), 1)\n"
    code += "import time; time.sleep(1); print('written', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not rows(folder)
    published = files(folder)
    assert len(rows(folder)) == 50 and len(published) == 1 and not list((folder / OPEN).iterdir())


def test_a_disk_that_fails(folder: Path) -> None:
    """Answers that can't be written are counted, and the log goes on when the disk does."""
    log = AnswerLog(folder, clock=lambda: NOON)
    (folder / OPEN).rmdir()
    lost = LOST._value.get()
    put(log, 0)
    log._turn()
    assert LOST._value.get() - lost == 1
    (folder / OPEN).mkdir()
    put(log, 1)
    finish(log)
    assert [row["request_id"] for row in rows(folder)] == ["r1"]


def test_a_full_disk_leaves_no_empty_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can be made, and nothing written to it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = AnswerLog(folder, clock=lambda: NOON)
    with monkeypatch.context() as patch:
        patch.setattr(logs._Open, "append", full)
        for number in range(3):
            put(log, number)
            log._turn()
    assert list((folder / OPEN).iterdir()) == []
    put(log, 3)
    finish(log)
    assert [row["request_id"] for row in rows(folder)] == ["r3"]


def left(folder: Path, number: int) -> Path:
    """Leave an open file as a killed process does, and return its path."""
    log = AnswerLog(folder, clock=lambda: NOON)
    put(log, number)
    log._turn()
    log._leave()
    return max((folder / OPEN).iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_an_unreadable_file_is_kept(folder: Path) -> None:
    """It doesn't keep the files after it, or a server, from going on."""
    good = left(folder, 1)
    good.rename(good.with_name("2023-11-15T12-b.arrows"))
    (folder / OPEN / "2023-11-15T12-a.arrows").write_bytes(b"damaged " * 99)
    AnswerLog(folder)
    assert [row["request_id"] for row in rows(folder)] == ["r1"]
    assert [path.name for path in (folder / OPEN).iterdir()] == ["2023-11-15T12-a.damaged"]


def test_a_disk_that_fails_at_the_start(folder: Path) -> None:
    """The server starts, and open files stay until they can be published; readers say what is missing."""
    path = left(folder, 1)
    (folder / "date=2023-11-15").touch()  # no folder can be made here
    AnswerLog(folder)
    assert path.exists()
    with pytest.raises(InputError, match=f"{path.name}: .*a killed process left rows there"):
        files(folder)
    (folder / "date=2023-11-15").unlink()
    assert len(files(folder)) == 1 and not list((folder / OPEN).glob("*.arrows"))


def test_processes_share_a_folder(folder: Path) -> None:
    """Each publishes its own files, and those that others left, once."""
    logs = [AnswerLog(folder, clock=lambda: NOON) for _ in range(4)]
    for log in logs:
        log.start()
    for number in range(400):
        put(logs[number % 4], number)
    closing = [threading.Thread(target=log.close) for log in logs]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    assert len({row["request_id"] for row in rows(folder)}) == len(rows(folder)) == 400


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "key").write_text("short"), "--log-key .*: 5 bytes; expected at least 16"),
        (lambda root: (root / "key").mkdir(), "--log-key .*: Is a directory"),
        (lambda root: (root / "served").touch(), "--log .*; expected a folder to write to"),
    ],
)
def test_a_log_that_cannot_be_opened(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    """A key that protects nobody is refused, and so is a file in place of the folder."""
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        AnswerLog(tmp_path / "served", key=str(tmp_path / "key"))
