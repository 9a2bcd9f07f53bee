"""The status that a kubelet would write for a pod."""

import datetime

BACKED_OFF = {"crash": "CrashLoopBackOff", "missing": "ImagePullBackOff"}


def now(seconds_ago=0):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(kind, status, reason=None):
    # An hour ago, so that minReadySeconds has elapsed.
    found = {"type": kind, "status": status, "lastTransitionTime": now(3600)}
    return found | ({"reason": reason} if reason else {})


def _status(pod, phase, ready, state, **container):
    name, image = pod["spec"]["containers"][0]["name"], pod["spec"]["containers"][0]["image"]
    status = "True" if ready else "False"
    return {
        "phase": phase,
        "startTime": now(3600),
        "conditions": [
            _condition("PodScheduled", "True"),
            _condition("Initialized", "True"),
            _condition("ContainersReady", status),
            _condition("Ready", status),
        ],
        "containerStatuses": [
            {
                "name": name,
                "image": image,
                "imageID": "",
                "ready": ready,
                "restartCount": 0,
                "started": ready,
                "state": state,
                **container,
            }
        ],
    }


def _terminated(code, message=""):
    return {
        "terminated": {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": message,
            "startedAt": now(10),
            "finishedAt": now(5),
        }
    }


def running(pod):
    return _status(pod, "Running", True, {"running": {"startedAt": now(3600)}})


def backing_off(pod, outcome):
    waiting = {"waiting": {"reason": BACKED_OFF[outcome], "message": f"simulated by the suite: {outcome}"}}
    if outcome == "missing":
        return _status(pod, "Pending", False, waiting)
    return _status(pod, "Running", False, waiting, restartCount=5, lastState=_terminated(1, "panicked at startup"))


def finished(pod, code, message):
    return _status(pod, "Succeeded" if code == 0 else "Failed", False, _terminated(code, message))
