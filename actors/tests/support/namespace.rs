//! Tests that run in a network namespace of their own.

use std::process::Command;

const INSIDE: &str = "RPYC_TEST_INSIDE_A_NAMESPACE";
const UNSHARE: [&str; 3] = ["--map-root-user", "--net", "--mount"];

/// True inside of the namespace. Outside of it runs the test of this name once more, inside, behind these words for the shell; where the
/// system lets nobody make one, that is said, and a failure with `CI=true`.
pub(crate) fn inside(test: &str, prepare: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = format!("ip link set lo up && {prepare} exec \"$0\" --exact {test} --nocapture");
    let program = std::env::current_exe().expect("this test has a file");
    let output = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", &script])
        .arg(program)
        .env(INSIDE, "1")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) if !can_unshare() => {
            assert!(std::env::var_os("CI").is_none(), "{output:?}");
            eprintln!("NOT RUN: this system lets nobody make a network namespace");
        }
        Ok(output) => panic!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("unshare: {error}"),
    }
    false
}

fn can_unshare() -> bool {
    Command::new("unshare")
        .args(UNSHARE)
        .args(["ip", "link", "set", "lo", "up"])
        .status()
        .is_ok_and(|status| status.success())
}
