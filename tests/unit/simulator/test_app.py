"""The process: it listens, and SIGTERM ends it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request


def test_the_process_answers_until_sigterm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"TOLLHOUSE_SIMULATOR_PORT": str(port)}
    with subprocess.Popen([sys.executable, "-m", "services", "simulator"], env=environment) as process:
        try:
            deadline_s = time.monotonic() + 10
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                        assert response.status == 200
                    break
                except OSError:
                    assert time.monotonic() < deadline_s
                    time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=5) == 0
        finally:
            process.kill()
