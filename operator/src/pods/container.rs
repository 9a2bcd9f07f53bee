//! Why a container does not run.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus};

use super::FailureClass::{Permanent, Transient};
use super::log_text::EXIT_CODE;
use super::{FailureClass, PodFailure, log_text};

/// The reasons of waiting containers that a pod does not leave by starting normally.
const WAITING: [(&str, FailureClass); 12] = [
    ("ErrImagePull", Transient),
    ("ImagePullBackOff", Transient),
    ("RegistryUnavailable", Transient),
    ("ImageInspectError", Transient),
    ("InvalidImageName", Permanent),
    ("ErrImageNeverPull", Permanent),
    ("SignatureValidationFailed", Permanent),
    ("CreateContainerConfigError", Permanent),
    ("CreateContainerError", Permanent),
    ("RunContainerError", Permanent),
    ("PreStartHookError", Permanent),
    ("PostStartHookError", Permanent),
];
const CRASH_LOOP: &str = "CrashLoopBackOff";

/// Explains the state of a container, or returns `None` if it runs, starts or has succeeded.
pub(super) fn explain(status: &ContainerStatus) -> Option<PodFailure> {
    let state = status.state.as_ref();
    let last = status.last_state.as_ref();
    let last = last.and_then(|state| state.terminated.as_ref());
    let failure = if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let known = WAITING.iter().find(|(known, _)| *known == reason);
        if let Some((reason, class)) = known {
            let text = waiting.message.as_deref().unwrap_or_default();
            PodFailure::from_text(reason, *class, text)
        } else {
            // In `CrashLoopBackOff` the reason is how the container ended.
            last.and_then(|last| exit(last, status.restart_count))?
        }
    } else if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        exit(terminated, status.restart_count)?
    } else {
        last.filter(|_| !status.ready)
            .and_then(|last| exit(last, status.restart_count))?
    };
    Some(PodFailure {
        restarts: status.restart_count,
        ..failure
    })
}

/// Explains how a container ended. One that was restarted should not have ended with code 0 either.
fn exit(terminated: &ContainerStateTerminated, restarts: i32) -> Option<PodFailure> {
    let code = terminated.exit_code;
    if code == 0 && restarts == 0 {
        return None;
    }
    let is_killed = terminated.reason.as_deref() == Some("OOMKilled");
    let (reason, class) = match code {
        _ if is_killed => ("OOMKilled", Permanent),
        // The exit codes of order-service.
        2 => ("InvalidSetting", Permanent),
        3 => ("DatabaseUnreachable", Transient),
        _ if restarts > 0 => (CRASH_LOOP, Permanent),
        _ => ("ContainerFailed", Permanent),
    };
    let log = terminated.message.as_deref().unwrap_or_default();
    let describe = |text: String| {
        let ended = match restarts {
            0 => format!("{EXIT_CODE} {code}"),
            _ => format!("restarted {restarts} times, {EXIT_CODE} {code}"),
        };
        match text.as_str() {
            "" => ended,
            text => format!("{ended}: {text}"),
        }
    };
    Some(PodFailure {
        since: terminated.started_at.as_ref().map(|time| time.0),
        ..PodFailure::new(
            reason,
            class,
            &describe(log_text::last_error(log)),
            &describe(log_text::readable(log)),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(restarts: i32, state: Value, last: Value) -> ContainerStatus {
        serde_json::from_value(json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last,
        }))
        .unwrap()
    }

    fn found(restarts: i32, state: Value, last: Value) -> (&'static str, FailureClass, String) {
        let failure = explain(&status(restarts, state, last)).unwrap();
        assert_eq!(failure.restarts, restarts);
        (failure.reason, failure.class, failure.message)
    }

    #[test]
    fn waiting_reasons_are_classified() {
        for (reason, class) in WAITING {
            let waiting = json!({"waiting": {"reason": reason, "message": "because"}});
            let message = format!("{reason}: because");
            assert_eq!(found(0, waiting, json!({})), (reason, class, message));
        }
        for starting in ["ContainerCreating", "PodInitializing"] {
            let waiting = json!({"waiting": {"reason": starting}});
            assert_eq!(explain(&status(0, waiting, json!({}))), None);
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_service() {
        let ended = |code: i32, reason: &str| {
            json!({"terminated": {"exitCode": code, "reason": reason,
            "message": "{\"msg\":\"start\"}\norder-service: because\n"}})
        };
        for (code, killed, reason, class) in [
            (1, "Error", "ContainerFailed", Permanent),
            (2, "Error", "InvalidSetting", Permanent),
            (3, "Error", "DatabaseUnreachable", Transient),
            (137, "OOMKilled", "OOMKilled", Permanent),
        ] {
            let message = format!("{reason}: exit code {code}: because");
            let found = found(0, ended(code, killed), json!({}));
            assert_eq!(found, (reason, class, message));
        }
        let failure = explain(&status(0, ended(1, "Error"), json!({}))).unwrap();
        assert_eq!(
            failure.detail,
            "ContainerFailed: exit code 1: start; because"
        );
        assert_eq!(explain(&status(0, ended(0, "Completed"), json!({}))), None);
    }

    #[test]
    fn a_crash_loop_has_the_reason_of_the_last_end() {
        let waiting =
            || json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
        let last = |code: i32| json!({"terminated": {"exitCode": code}});
        let message = "CrashLoopBackOff: restarted 4 times, exit code 101".to_owned();
        assert_eq!(
            found(4, waiting(), last(101)),
            (CRASH_LOOP, Permanent, message)
        );
        let message = "DatabaseUnreachable: restarted 4 times, exit code 3".to_owned();
        let expected = ("DatabaseUnreachable", Transient, message);
        assert_eq!(found(4, waiting(), last(3)), expected);
        // Between two crashes the container runs.
        let running = || json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(found(4, running(), last(3)), expected);
        assert_eq!(explain(&status(0, running(), json!({}))), None);
        let mut ready = status(4, running(), last(3));
        ready.ready = true;
        assert_eq!(explain(&ready), None);
    }
}
