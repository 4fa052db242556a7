//! What starts something gives an error where descriptors are short, and works as soon as they are not.
#![cfg(feature = "rpc")]

use std::{fs::File, process::Command, time::Duration};

use rpyc::{
    Chain, ConnectionConfig, ConnectionPool, Connections, Error, PoolConfig, PoolError, Server,
    ServerConfig, Service, StreamError, StreamPool, SupervisedConnection, SupervisorConfig,
    VoidService, runtime::block_on,
};

const INSIDE: &str = "RPYC_TEST_WITH_FEW_DESCRIPTORS";
const DESCRIPTORS: usize = 256;

/// True in a process that may have few descriptors; else runs the test of this name in one.
fn with_few(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" --exact {test} --nocapture");
    let program = std::env::current_exe().expect("this test has a file");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .env(INSIDE, "1")
        .output()
        .expect("a shell");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    false
}

fn take_all() -> Vec<File> {
    let files: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(files.len() > DESCRIPTORS / 2);
    files
}

#[test]
fn what_starts_something_says_that_descriptors_are_short() {
    if !with_few("what_starts_something_says_that_descriptors_are_short") {
        return;
    }
    let chain = Chain::to("tcp://127.0.0.1:1").expect("an endpoint");
    let (config, ours) = (SupervisorConfig::default, ConnectionConfig::default);
    let supervised =
        || SupervisedConnection::try_with_config(&chain, VoidService, config(), ours());
    let channels = || StreamPool::over([chain.clone()], PoolConfig::default());
    let connections =
        || ConnectionPool::over([Connections::new(chain.clone())], PoolConfig::default());

    let files = take_all();
    let channel = chain.try_supervise(config());
    assert!(
        matches!(channel, Err(StreamError::Runtime(_))),
        "{channel:?}"
    );
    let connection = supervised();
    assert!(
        matches!(connection, Err(Error::Stream(StreamError::Runtime(_)))),
        "{connection:?}"
    );
    for pool in [channels().map(drop), connections().map(drop)] {
        let error = pool.expect_err("descriptors are short");
        assert!(
            matches!(error, PoolError::Runtime(StreamError::Runtime(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("Too many open files"), "{error}");
    }
    let server = Server::bind_with(&[], Service::new("Idle"), ServerConfig::default());
    let server = block_on(server)
        .expect("no arbiter")
        .expect("nothing to bind");
    let drained = block_on(server.drain(Duration::from_secs(30)));
    assert!(drained.expect("no arbiter"), "nobody ever came");

    drop(files);
    chain.try_supervise(config()).expect("threads");
    supervised().expect("threads");
    channels().expect("threads");
    connections().expect("threads");
}
