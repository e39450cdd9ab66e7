"""The handler of the stories: takes as long as its message says, and writes down every start and every end.

It reaches the workers through a ConfigMap, so that no story needs an image of its own.
"""

import json
import os
import time

import redis

records = redis.Redis.from_url(os.environ["RECORDS_URL"])
story = os.environ["STORY"]
pod = os.environ["HOSTNAME"]


def handle(payload: str) -> None:
    job = json.loads(payload)
    if os.environ.get("BROKEN"):
        records.rpush(f"e2e:{story}:broken", json.dumps([job["id"], pod, time.time()]))
        raise RuntimeError("this version is broken")
    attempt = records.hincrby(f"e2e:{story}:attempts", job["id"], 1)
    records.rpush(f"e2e:{story}:starts", json.dumps([job["id"], pod, time.time()]))
    time.sleep(job["seconds"] if attempt == 1 else job.get("seconds_again", job["seconds"]))
    records.rpush(f"e2e:{story}:ends", json.dumps([job["id"], pod, time.time()]))
