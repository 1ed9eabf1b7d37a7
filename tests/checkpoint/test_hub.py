"""Paths, web addresses and the hub, against a cache in a folder and a server on this machine."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.config import catalog
from pocketquant.errors import DownloadError

SMALL = "english_2m_2026-10"
COMMIT = "a" * 40


def put_in_cache(cache: Path, uri: str, content: Path) -> None:
    """Lay `content` into a Hugging Face cache tree where `uri` is looked for."""
    repository, path, revision = hub.split_hub(uri)
    folder = cache / ("models--" + repository.replace("/", "--"))
    commit = revision or COMMIT
    target = folder / "snapshots" / commit / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(content, target)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(SMALL, tmp_path_factory.mktemp("made"), seed=9).parent


def test_parts_of_an_address() -> None:
    assert hub.split_hub("hf://a/b/c/d.yaml@e") == ("a/b", "c/d.yaml", "e")
    assert hub.split_hub("hf://a/b/c.yaml") == ("a/b", "c.yaml", None)
    assert hub.suffix("hf://a/b/c.YAML@v1.0") == ".yaml"
    assert hub.suffix("https://x.org/c.yaml?download=a.bin") == ".yaml"
    assert hub.suffix("dir/file.safetensors") == ".safetensors"
    assert hub.sibling("hf://a/b/c/d.yaml@e", "t.json") == "hf://a/b/c/t.json@e"
    assert hub.sibling("hf://a/b/d.yaml", "t.json") == "hf://a/b/t.json"
    assert hub.sibling("https://x.org/m/d.yaml?q=1", "t.json") == "https://x.org/m/t.json"


@pytest.mark.parametrize(
    "uri", ["hf://", "hf://a", "hf://a/b", "hf://a//c", "hf://a/b/", "hf://a/b/c@", "hf://a/b/@c"]
)
def test_malformed_addresses(uri: str) -> None:
    with pytest.raises(DownloadError, match=r"expected hf://owner/repo/path\[@revision\]"):
        hub.resolve(uri)


def test_a_local_path_stays(tmp_path: Path) -> None:
    assert hub.resolve(tmp_path / "x") == tmp_path / "x"
    assert hub.resolve("some/where") == Path("some/where")


def test_from_the_cache_with_and_without_revision(cache: Path, made: Path) -> None:
    for uri in ("hf://me/voice/dir/model.yaml", "hf://me/pinned/model.yaml@" + "b" * 40):
        put_in_cache(cache, uri, made / "model.yaml")
        assert hub.resolve(uri).read_bytes() == (made / "model.yaml").read_bytes()


def test_offline_and_not_cached_says_what_to_run(cache: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        hub.resolve("hf://me/voice/dir/model.yaml@v2")
    assert "HF_HUB_OFFLINE is set; run `hf download me/voice dir/model.yaml --revision v2`" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


def test_a_language_from_the_cache(cache: Path, made: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = catalog.language(SMALL)
    tokenizer = config.flow_lm.lookup_table.tokenizer_path
    assert config.weights_path is not None
    assert config.weights_path_without_voice_cloning is not None
    put_in_cache(cache, config.weights_path_without_voice_cloning, made / "model.safetensors")
    put_in_cache(cache, tokenizer, made / "tokenizer.model")
    fallen_back = open_checkpoint(SMALL)
    assert not fallen_back.has_voice_cloning
    assert fallen_back.language == fallen_back.origin == SMALL
    assert fallen_back.files[-1].uri == config.weights_path_without_voice_cloning
    assert fallen_back.tokenizer.data == (made / "tokenizer.model").read_bytes()
    assert [
        record.message.startswith("taking the weights without voice cloning") for record in caplog.records
    ] == [True]

    put_in_cache(cache, config.weights_path, made / "model.safetensors")
    assert open_checkpoint(SMALL).has_voice_cloning
    assert open_checkpoint(config.weights_path).language == SMALL  # by the folder's name


def test_neither_weights(cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"pocket-tts-without-voice-cloning.*not in the cache"):
        open_checkpoint(SMALL)


def test_an_unreachable_hub_is_waited_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, bool]] = []

    def unreachable(repo_id: str, *_: str, local_files_only: bool, **__: object) -> str:
        asked.append((repo_id, local_files_only))
        raise errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(DownloadError, match=r"me/open.*not in the cache, and the hub cannot be reached"):
        hub.resolve_first("hf://me/gated/m.safetensors", "hf://me/open/m.safetensors")
    assert asked == [("me/gated", False), ("me/open", True)]


def test_paths_in_a_config_on_the_hub_count_from_its_folder(cache: Path, made: Path, tmp_path: Path) -> None:
    config = catalog.language(SMALL).with_paths(weights="model.safetensors", tokenizer="tokenizer.model")
    (tmp_path / "m.yaml").write_text(config.to_yaml())
    put_in_cache(cache, "hf://me/voice/v1/m.yaml@" + COMMIT, tmp_path / "m.yaml")
    for name in ("model.safetensors", "tokenizer.model"):
        put_in_cache(cache, f"hf://me/voice/v1/{name}@{COMMIT}", made / name)
    checkpoint = open_checkpoint("hf://me/voice/v1/m.yaml@" + COMMIT)
    assert len(checkpoint.weights) == 224
    assert checkpoint.tokenizer.data
    assert checkpoint.files[-1].uri == f"hf://me/voice/v1/model.safetensors@{COMMIT}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (errors.GatedRepoError, "me/voice asks for accepted terms"),
        (errors.RepositoryNotFoundError, "no public repository me/voice"),
        (errors.RevisionNotFoundError, "me/voice has no revision 'v9'"),
        (errors.EntryNotFoundError, "me/voice has no file 'm.safetensors' at revision v9"),
        (errors.HfHubHTTPError, "HTTP status 503"),
        (ConnectionError, "cannot be downloaded"),
    ],
)
def test_what_the_hub_answers(
    kind: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Response:
        status_code = 503

    def refuse(repo_id: str, *_: str, **__: object) -> str:
        if repo_id == "me/open":
            return str(tmp_path / "open.safetensors")
        error = kind.__new__(kind)
        error.response = Response()  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(DownloadError, match=words):
        hub.resolve("hf://me/voice/m.safetensors@v9")
    path, first = hub.resolve_first("hf://me/voice/m.safetensors@v9", "hf://me/open/m.safetensors")
    assert (path, first) == (tmp_path / "open.safetensors", False)
    assert words in caplog.text
    with pytest.raises(DownloadError, match=words):
        hub.resolve_first("hf://me/voice/m.safetensors@v9", None)


def test_the_environment_is_honoured(made: Path, tmp_path: Path) -> None:
    config = catalog.language(SMALL)
    assert config.weights_path is not None
    put_in_cache(tmp_path / "home" / "hub", config.weights_path, made / "model.safetensors")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    code = f"from pocketquant.checkpoint.checkpoint import open_checkpoint as o; print(o({SMALL!r}).has_voice_cloning)"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True"


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/refused":
            self.send_error(403)
            return
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + (100 if "broken" in self.path else 0)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[_Handler]]]:
    """A web server on this machine: (address, its handler with `files` to serve), and a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")

    class Handler(_Handler):
        files: dict[str, bytes] = {}  # noqa: RUF012
        requests: list[str] = []  # noqa: RUF012

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", Handler
        running.shutdown()
        thread.join()


def test_downloads_are_cached_like_the_official_package_does(server: tuple[str, type[_Handler]]) -> None:
    address, handler = server
    handler.files["/dir/m.yaml"] = b"hello"
    url = f"{address}/dir/m.yaml?x=1"
    handler.files["/dir/m.yaml?x=1"] = b"hello"
    path = hub.resolve(url)
    assert path.read_bytes() == b"hello"
    assert path == hub.web_cache(url)
    assert path.parent == Path.home() / ".cache" / "pocket_tts"
    assert path.suffix == ".yaml"
    assert len(path.stem) == 64
    assert hub.resolve(url) == path
    assert len(handler.requests) == 1


def test_half_a_download_leaves_nothing(server: tuple[str, type[_Handler]]) -> None:
    address, handler = server
    handler.files["/broken.safetensors"] = b"half"
    with pytest.raises(DownloadError, match="broke off after 4 of 104 bytes"):
        hub.resolve(f"{address}/broken.safetensors")
    assert list((Path.home() / ".cache" / "pocket_tts").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "words"), [("/none.yaml", "HTTP status 404; correct"), ("/refused", "HTTP status 403")]
)
def test_refused(server: tuple[str, type[_Handler]], path: str, words: str) -> None:
    with pytest.raises(DownloadError, match=words):
        hub.resolve(server[0] + path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.yaml", "http://", "http://no such host/x"])
def test_no_server(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
        hub.resolve(url)
    assert "\n" not in str(caught.value)


def test_no_web_address() -> None:
    for call in (hub.resolve, hub.suffix):
        with pytest.raises(DownloadError, match="not a web address"):
            call("http://[::1/x.yaml")


def test_a_whole_model_from_the_web(server: tuple[str, type[_Handler]], made: Path) -> None:
    address, handler = server
    config = catalog.language(SMALL).with_paths(weights="model.safetensors", tokenizer="tokenizer.model")
    handler.files["/v/m.yaml"] = config.to_yaml().encode()
    for name in ("model.safetensors", "tokenizer.model"):
        handler.files[f"/v/{name}"] = (made / name).read_bytes()
    checkpoint = open_checkpoint(f"{address}/v/m.yaml")
    assert len(checkpoint.weights) == 224
    assert checkpoint.files[-1].uri == f"{address}/v/model.safetensors"
    assert checkpoint.tokenizer.data
