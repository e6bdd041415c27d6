"""One POST. stdin: url, body; stdout: status, text."""

import json
import sys
import urllib.error
import urllib.request

SECONDS = 30.0


def main() -> None:
    """Send it; an answer of any status is an answer."""
    order = json.load(sys.stdin)
    request = urllib.request.Request(
        order["url"], json.dumps(order["body"]).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        status, text = refusal.code, refusal.read().decode()
    print(json.dumps({"status": status, "text": text}))


if __name__ == "__main__":
    main()
