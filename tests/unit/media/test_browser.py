"""What a real browser makes of the clips that are served: needs Chromium, and is skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from deployments.jobs.render import animated_webp
from vitron.video import encode_mp4

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = """<video id="clip" src="clip.mp4" muted></video><script>
const tell = found => fetch("/found?" + encodeURIComponent(JSON.stringify(found)));
const clip = document.getElementById("clip"), thumbnail = new ImageDecoder({type: "image/webp", data: WEBP});
clip.onerror = () => tell({error: clip.error.message});
clip.onended = async () => {
  await thumbnail.completed; await thumbnail.tracks.ready;
  tell({width: clip.videoWidth, height: clip.videoHeight, seconds: clip.duration, at: clip.currentTime,
        pictures: thumbnail.tracks.selectedTrack.frameCount});
};
clip.play().catch(error => tell({error: String(error)}));
</script>"""


@contextmanager
def site(pages: dict[str, tuple[str, bytes]]) -> Iterator[tuple[str, Queue[str]]]:
    """Serve pages by path on a free port; what a page tells by asking for "/found?..." goes into the queue."""
    told: Queue[str] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/found":
                told.put(unquote(place.query))
            kind, data = pages.get(place.path, ("text/plain", b""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_plays_a_clip_to_its_end_and_counts_the_pictures_of_its_thumbnail(tmp_path: Path) -> None:
    frames = np.zeros((8, 64, 96, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:40, 8 * number : 8 * number + 20] = (220, 40, 40)
    data = list(animated_webp(frames, 8.0))
    page = PAGE.replace("WEBP", f"new Uint8Array({data})").encode()
    pages = {"/": ("text/html", page), "/clip.mp4": ("video/mp4", encode_mp4(frames, 8.0))}
    with site(pages) as (address, told):
        assert BROWSER is not None
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        command += ["--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0", address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = json.loads(told.get(timeout=90))
        finally:
            browser.terminate()
            browser.wait()
    assert found == {"width": 96, "height": 64, "seconds": 1, "at": 1, "pictures": 8}
