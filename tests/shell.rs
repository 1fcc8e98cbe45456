//! What the program says of its own command line to shells and to `man`.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn walkeep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_walkeep"))
        .args(arguments)
        .output()
        .expect("run walkeep")
}

fn text(arguments: &[&str]) -> String {
    let output = walkeep(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A real shell completes with them.
#[test]
fn bash_completes_verbs_and_their_options() {
    let script = text(&["completions", "bash"]);
    let complete = |words: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words})\nCOMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))\n\
             _walkeep walkeep \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        let mut bash = Command::new("bash")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start bash");
        let mut stdin = bash.stdin.take().expect("stdin");
        stdin.write_all(ask.as_bytes()).expect("write to bash");
        drop(stdin);
        let output = bash.wait_with_output().expect("wait for bash");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("walkeep rest"), ["restore"]);
    assert_eq!(complete("walkeep restore --to-t"), ["--to-time"]);
    assert_eq!(complete("walkeep wal pu"), ["push"]);
}

#[test]
fn every_shell_has_its_script() {
    for (shell, words) in [
        ("zsh", "#compdef walkeep"),
        ("fish", "complete -c walkeep"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        assert!(text(&["completions", shell]).contains(words), "{shell}");
    }
    assert_eq!(walkeep(&["completions", "sh"]).status.code(), Some(2));
}

#[test]
fn each_verb_has_a_manual_page() {
    let page = text(&["man"]);
    assert!(page.contains(".TH walkeep 1"), "{page}");
    assert!(
        page.contains("restore") && !page.contains("prefetch"),
        "{page}"
    );
    let page = text(&["man", "wal", "push"]);
    assert!(page.contains(".TH walkeep-wal-push 1"), "{page}");
    assert!(page.contains("archive_command"), "{page}");
    let unknown = walkeep(&["man", "wal", "pull"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("there is no verb \"wal pull\""), "{said}");
}
