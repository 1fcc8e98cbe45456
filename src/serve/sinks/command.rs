//! A program of somebody's own, with the message on its standard input.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::SinkError;

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(
    command: Vec<String>,
    json: Vec<u8>,
    patience: Duration,
) -> Result<(), SinkError> {
    let ran = tokio::task::spawn_blocking(move || wait(&command, &json, patience));
    ran.await
        .map_err(|_| SinkError("the command's thread died".to_owned()))?
}

fn wait(command: &[String], json: &[u8], patience: Duration) -> Result<(), SinkError> {
    let program = command.first().map_or("", String::as_str);
    let wrong = |what: String| SinkError(format!("\"{program}\" {what}"));
    let mut child = Command::new(program)
        .args(command.iter().skip(1))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // With whatever it starts, it can be ended as one.
        .process_group(0)
        .spawn()
        .map_err(|error| wrong(format!("does not start: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Less than a pipe holds; one that does not read has its reasons.
        let _ = stdin.write_all(json);
    }
    match wait_for(&mut child, patience) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(wrong(format!("failed ({status})"))),
        None => {
            let group = Pid::from_raw(child.id().cast_signed());
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            Err(wrong(format!(
                "did not end within {patience:?}, and was killed"
            )))
        }
    }
}

fn wait_for(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(LOOK),
            _ => return None,
        }
    }
}
