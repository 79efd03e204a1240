//! Runs the tests of one binary, one after the other, on one control plane. For test targets with `harness = false`.
//!
//! Understands the arguments of Rust's own harness that people and cargo use: names to filter by, `--exact`, `--skip`,
//! `--ignored`, `--include-ignored`, `--list`; it accepts and ignores those that have no meaning here.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::control_plane::{ControlPlane, Options};
use crate::process::tail;

/// What a test returns; any error fails it.
pub type TestResult = Result<(), Box<dyn Error>>;

type Body = for<'a> fn(&'a ControlPlane) -> Pin<Box<dyn Future<Output = TestResult> + 'a>>;

/// One test. Made by the macro [`tests!`](crate::tests).
#[derive(Clone, Copy, Debug)]
pub struct Test {
    name: &'static str,
    body: Body,
    own_control_plane: bool,
    ignored: bool,
    deadline: Duration,
}

impl Test {
    /// A test that shares the control plane with those before and after it, and ends within two minutes.
    #[must_use]
    pub const fn new(name: &'static str, body: Body) -> Self {
        let deadline = Duration::from_secs(120);
        Self { name, body, own_control_plane: false, ignored: false, deadline }
    }

    /// Gives it a fresh control plane, which costs about five seconds.
    #[must_use]
    pub const fn on_own_control_plane(self) -> Self {
        Self { own_control_plane: true, ..self }
    }

    /// Runs it only when asked to with `--ignored` or `--include-ignored`.
    #[must_use]
    pub const fn ignored(self) -> Self {
        Self { ignored: true, ..self }
    }

    /// Fails it when it takes longer.
    #[must_use]
    pub const fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

/// Lists async functions `fn(&ControlPlane) -> TestResult` as [`Test`]s of the same names.
///
/// ```no_run
/// # async fn installs(_: &testbed::ControlPlane) -> testbed::TestResult { Ok(()) }
/// # async fn survives_a_crash(_: &testbed::ControlPlane) -> testbed::TestResult { Ok(()) }
/// let [installs, survives_a_crash] = testbed::tests![installs, survives_a_crash];
/// testbed::run_tests(&[installs, survives_a_crash.on_own_control_plane()]);
/// ```
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        [$($crate::Test::new(stringify!($name), |control_plane| Box::pin($name(control_plane)))),+]
    };
}

#[derive(Debug, Default)]
struct Arguments {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    ignored: IgnoredTests,
    list: bool,
}

/// What to do with tests that are marked as ignored.
#[derive(Debug, Default, PartialEq)]
enum IgnoredTests {
    #[default]
    Leave,
    Include,
    Only,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => parsed.exact = true,
                "--ignored" => parsed.ignored = IgnoredTests::Only,
                "--include-ignored" => parsed.ignored = IgnoredTests::Include,
                "--list" => parsed.list = true,
                "--skip" => parsed.skip.extend(arguments.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(arguments.next()),
                flag if flag.starts_with('-') => {}
                filter => parsed.filters.push(filter.to_owned()),
            }
        }
        parsed
    }

    fn selects(&self, test: &Test) -> bool {
        let matches = |pattern: &String| {
            if self.exact { test.name == pattern } else { test.name.contains(pattern.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skip.iter().any(matches)
            && (self.ignored != IgnoredTests::Only || test.ignored)
    }

    fn runs(&self, test: &Test) -> bool {
        !test.ignored || self.ignored != IgnoredTests::Leave
    }
}

/// The `main` of a test binary: moves into namespaces, runs the selected tests, prints the time each took.
///
/// Must be called before any thread is started. Tests that share the control plane run first.
#[must_use]
pub fn run_tests(tests: &[Test]) -> ExitCode {
    let arguments = Arguments::parse(std::env::args().skip(1));
    let selected: Vec<_> = tests.iter().filter(|test| arguments.selects(test)).collect();
    if arguments.list {
        for test in &selected {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    let (mut to_run, ignored): (Vec<&Test>, Vec<&Test>) =
        selected.into_iter().partition(|test| arguments.runs(test));
    to_run.sort_by_key(|test| test.own_control_plane);
    let mut summary = Summary {
        ignored: ignored.len(),
        filtered_out: tests.len() - to_run.len() - ignored.len(),
        ..Summary::default()
    };
    if to_run.is_empty() {
        println!("\nrunning 0 tests");
        return summary.finish();
    }
    if let Err(error) = crate::namespace::enter() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start a runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    end_on_signals();
    println!("\nrunning {} test{}", to_run.len(), if to_run.len() == 1 { "" } else { "s" });
    runtime.block_on(run_all(&to_run, &mut summary));
    summary.finish()
}

/// Ends the process at once on Ctrl-C and SIGTERM, also while a test blocks; the kernel then ends all that it started.
pub(crate) fn end_on_signals() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let signals =
                [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
            let waits =
                signals.into_iter().flatten().map(|mut signal| Box::pin(async move { signal.recv().await }));
            futures::future::select_all(waits).await;
            std::process::exit(130);
        });
    });
}

async fn run_all(tests: &[&Test], summary: &mut Summary) {
    let mut shared = None;
    for test in tests {
        let started = Instant::now();
        let control_plane = match take_control_plane(&mut shared, test).await {
            Ok(control_plane) => control_plane,
            Err(error) => {
                summary.record(test, started.elapsed(), Err(format!("no control plane: {error}")));
                return;
            }
        };
        let before = Instant::now();
        let result = run_one(test, &control_plane).await;
        if result.is_err() {
            print_logs(&control_plane, before);
            copy_logs(&control_plane, test.name);
        }
        summary.record(test, before.elapsed(), result);
        shared = Some(control_plane);
    }
    if let Some(control_plane) = shared {
        // The process ends now; what does not end here ends with it.
        let _ended = control_plane.stop().await;
    }
}

/// The control plane of the test before, or a fresh one where the test wants its own.
async fn take_control_plane(
    shared: &mut Option<ControlPlane>,
    test: &Test,
) -> Result<ControlPlane, Box<dyn Error>> {
    match shared.take() {
        Some(control_plane) if !test.own_control_plane => return Ok(control_plane),
        Some(control_plane) => control_plane.stop().await?,
        None => {}
    }
    let started = Instant::now();
    let control_plane = ControlPlane::start(&Options::default()).await?;
    println!("control plane up in {:.1} s", started.elapsed().as_secs_f64());
    Ok(control_plane)
}

async fn run_one(test: &Test, control_plane: &ControlPlane) -> Result<(), String> {
    let body = AssertUnwindSafe((test.body)(control_plane)).catch_unwind();
    match tokio::time::timeout(test.deadline, body).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(with_sources(error.as_ref())),
        Ok(Err(_)) => Err("panicked, see above".into()),
        Err(_) => Err(format!("still ran after {:?}", test.deadline)),
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The last lines of every log that changed while the test ran, but of the control plane's own programs.
fn print_logs(control_plane: &ControlPlane, since: Instant) {
    let Ok(entries) = std::fs::read_dir(control_plane.dir()) else { return };
    let own: Vec<_> = control_plane.processes().iter().map(|process| process.log_file().to_owned()).collect();
    for entry in entries.flatten() {
        let path = entry.path();
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_log =
            path.extension().is_some_and(|extension| extension == "log") && !path.ends_with("audit.log");
        if is_log && !own.contains(&path) && age.is_some_and(|age| age <= since.elapsed()) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            println!("---- end of {}\n{}", path.display(), tail(&text, 30));
        }
    }
}

/// Copies all logs to `$TESTBED_LOGS/<test>`, if set: the in-memory folder is gone when the process ends.
fn copy_logs(control_plane: &ControlPlane, test: &str) {
    let Some(to) = std::env::var_os("TESTBED_LOGS") else { return };
    let to = std::path::Path::new(&to).join(test);
    let copied =
        std::fs::create_dir_all(&to).and_then(|()| std::fs::read_dir(control_plane.dir())).map(|entries| {
            let logs = entries
                .flatten()
                .filter(|entry| entry.path().extension().is_some_and(|found| found == "log"));
            logs.filter(|entry| std::fs::copy(entry.path(), to.join(entry.file_name())).is_ok()).count()
        });
    match copied {
        Ok(count) => println!("---- {count} logs are in {}", to.display()),
        Err(error) => println!("---- cannot keep logs in {}: {error}", to.display()),
    }
}

#[derive(Debug, Default)]
struct Summary {
    passed: usize,
    failures: Vec<(&'static str, String)>,
    ignored: usize,
    filtered_out: usize,
    took: Duration,
}

impl Summary {
    fn record(&mut self, test: &Test, took: Duration, result: Result<(), String>) {
        self.took += took;
        let label = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {} ... {label} ({:.1} s)", test.name, took.as_secs_f64());
        match result {
            Ok(()) => self.passed += 1,
            Err(reason) => self.failures.push((test.name, reason)),
        }
    }

    fn finish(&self) -> ExitCode {
        if !self.failures.is_empty() {
            println!("\nfailures:");
        }
        for (name, reason) in &self.failures {
            println!("\n---- {name}\n{reason}");
        }
        println!(
            "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            if self.failures.is_empty() { "ok" } else { "FAILED" },
            self.passed,
            self.failures.len(),
            self.ignored,
            self.filtered_out,
            self.took.as_secs_f64(),
        );
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }
}
