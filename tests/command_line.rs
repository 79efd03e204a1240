//! The command line as users and Deployments call it.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

mod program;

use std::net::TcpListener;

use self::program::{KUBECONFIG, istio_manager, run};

fn output(line: &str) -> (i32, String, String) {
    run(&mut istio_manager(line))
}

#[test]
fn help_goes_to_standard_output_and_shows_examples() {
    let (code, stdout, stderr) = output("--help");
    assert_eq!((code, stderr.as_str()), (0, ""));
    for expected in ["istio-manager run --leader-elect", "Commands:", "crd", "version"] {
        assert!(stdout.contains(expected), "{expected} is missing in:\n{stdout}");
    }
}

#[test]
fn help_of_run_shows_the_go_operators_flags_with_their_defaults() {
    let (code, stdout, _) = output("run --help");
    assert_eq!(code, 0);
    for (flag, default) in [
        ("--metrics-bind-address", ":8090"),
        ("--health-probe-bind-address", ":8091"),
        ("--leader-elect", "false"),
        ("--rate-limiter-burst", "200"),
        ("--rate-limiter-frequency", "30"),
        ("--failure-base-delay", "1s"),
        ("--failure-max-delay", "1000s"),
        ("--reconciliation-interval", "10h"),
        ("--zap-devel", "true"),
        ("--zap-log-level", "info"),
        ("--zap-time-encoding", "rfc3339"),
    ] {
        let (_, after) = stdout.split_once(flag).unwrap_or_else(|| panic!("{flag} is missing"));
        let (_, after) = after.split_once("[default: ").unwrap();
        assert!(after.starts_with(&format!("{default}]")), "{flag}: {after}");
    }
    for flag in ["--kubeconfig", "--zap-encoder", "--zap-stacktrace-level"] {
        assert!(stdout.contains(flag), "{flag} is missing");
    }
}

#[test]
fn help_of_a_command_shows_how_it_is_used_and_what_its_exit_codes_mean() {
    for (command, expected) in [
        ("render", &["Examples:", "--charts-dir ./charts --istio-version 1.30.3"][..]),
        ("images", &["Examples:", "private registry"]),
        ("diff", &["Examples:", "Exit codes:", "1  differences found"]),
        ("check", &["Examples:", "Exit codes:", "0  no errors found"]),
    ] {
        let (code, stdout, _) = output(&format!("{command} --help"));
        assert_eq!(code, 0);
        for expected in expected {
            assert!(stdout.contains(expected), "{expected} is missing in:\n{stdout}");
        }
    }
}

#[test]
fn commands_that_report_with_exit_code_1_fail_with_2() {
    for (line, because) in [
        ("diff -f /does/not/exist", "failed to read /does/not/exist"),
        ("diff", "--filename <FILE>"),
        ("check", "--kubeconfig"),
        ("check --istio-version 1.0.0", "--kubeconfig"),
    ] {
        let (code, stdout, stderr) = output(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}");
        assert!(stderr.contains(because), "{line}: {stderr}");
    }
}

#[test]
fn help_of_restarts_explains_changes_and_exit_codes() {
    for name in ["restarts", "proxy-status"] {
        let (code, stdout, _) = output(&format!("{name} --help"));
        assert_eq!(code, 0);
        for expected in ["Nothing is changed without --apply", "Exit codes:", "130", "Ctrl-C", "Examples:"] {
            assert!(stdout.contains(expected), "{expected} is missing in:\n{stdout}");
        }
        let (_, explained) = stdout.split_once("Each workload is compared").unwrap();
        assert!(explained.lines().all(|line| line.chars().count() <= 120), "{stdout}");
    }
}

#[test]
fn a_report_without_a_cluster_is_an_actionable_error() {
    let (code, stdout, stderr) = output("restarts --kubeconfig=/does/not/exist");
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("/does/not/exist"), "{stderr}");
}

#[test]
fn flags_of_a_go_operator_without_a_subcommand_reach_run() {
    let flags = "-kubeconfig /does/not/exist -leader-elect -metrics-bind-address=0 -health-probe-bind-address=0 \
                 -zap-devel=false -zap-encoder=console -zap-log-level=error -zap-stacktrace-level=panic \
                 -zap-time-encoding=iso8601 -reconciliation-interval 1h30m -failure-max-delay=16m40s \
                 -rate-limiter-burst=1";
    let (code, stdout, stderr) = output(flags);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("cannot use the kubeconfig /does/not/exist"), "{stderr}");
}

#[test]
fn no_cluster_is_an_error_that_lists_the_searched_locations() {
    let (code, _, stderr) = output("run");
    assert_eq!(code, 1);
    for expected in ["error: ", "--kubeconfig", "KUBECONFIG", "ServiceAccount", "home directory"] {
        assert!(stderr.contains(expected), "{expected} is missing in:\n{stderr}");
    }
}

#[test]
fn a_command_line_that_is_wrong_is_explained() {
    for (line, expected) in [
        ("run --reconciliation-interval 5", "missing unit"),
        ("run --metrics-bind-address 8080", ":8090"),
        ("run --leader-elect=maybe", "use true or false"),
        ("run --zap-log-level loud", "use error, warn, info, debug"),
        ("run --rate-limiter-burst 0", "0 is not in"),
        ("--leader-elects", "--leader-elect"),
    ] {
        let (code, stdout, stderr) = output(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}");
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
}

#[test]
fn durations_that_cannot_elect_a_leader_stop_the_start() {
    let (code, _, stderr) = output("run --leader-elect --leader-elect-renew-deadline 20s");
    assert_eq!(code, 1);
    assert!(
        stderr.contains("because: the renew deadline 20s is not shorter than the lease duration 15s"),
        "{stderr}"
    );
}

#[test]
fn fips_mode_reports_what_it_does_not_cover() {
    let line = "run --kubeconfig /does/not/exist";
    let (code, stdout, stderr) = run(istio_manager(line).env("KYMA_FIPS_MODE_ENABLED", "true"));
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("cannot use the kubeconfig /does/not/exist"), "{stderr}");
    let warned = stderr.contains("FIPS mode is incomplete: ");
    assert_eq!(warned, !cfg!(feature = "fips"), "{stderr}");
    let (_, _, stderr) = run(istio_manager(line).env("KYMA_FIPS_MODE_ENABLED", "false"));
    assert!(!stderr.contains("FIPS"), "{stderr}");
}

#[test]
fn a_build_without_a_fips_module_does_not_start_where_one_is_required() {
    let (code, _, stderr) = output("run --require-fips --kubeconfig /does/not/exist");
    assert_eq!(code, 1);
    let expected =
        if cfg!(feature = "fips") { "/does/not/exist" } else { "--require-fips is set, but this build" };
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn a_port_in_use_stops_the_start_and_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    std::fs::write(&kubeconfig, KUBECONFIG).unwrap();
    let line = format!(
        "run --kubeconfig {} --metrics-bind-address 0 --health-probe-bind-address {address}",
        kubeconfig.display()
    );
    let (code, _, stderr) = output(&line);
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("the health probe server failed to listen on {address}")), "{stderr}");
    assert!(stderr.contains("in use"), "{stderr}");
}

#[test]
fn the_crd_is_printed() {
    let (code, stdout, stderr) = output("crd");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("istios.operator.kyma-project.io"), "{stdout}");
}

#[test]
fn the_version_is_printed() {
    let expected = format!("istio-manager {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(output("version"), (0, expected.clone(), String::new()));
    assert_eq!(output("--version"), (0, expected, String::new()));
}
