//! The program as a person starts it, in an environment without a cluster.

use assert_cmd::Command;

/// A kubeconfig of a cluster that does not answer.
pub const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: nowhere
contexts:
- {name: nowhere, context: {cluster: nowhere}}
clusters:
- {name: nowhere, cluster: {server: 'http://127.0.0.1:1'}}
";

pub fn istio_manager(line: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("istio-manager"));
    command.env_clear().env("HOME", "/nonexistent").args(line.split_whitespace());
    command
}

/// Exit code, standard output and standard error of a command.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
