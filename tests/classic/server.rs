//! What the Rust end is to a Python one: somebody to connect to, and nobody who runs Python.

use rpyc::{ClassicService, Server};

use crate::{
    peer::soon,
    python::{RPYC, RPYC_5, Script, run_within},
};

const CHECKS: &str = r#"
import rpyc, sys
conn = rpyc.classic.connect("127.0.0.1", int(sys.argv[1]))
def raises(kind, what, *args):
    try:
        what(*args)
    except kind as error:
        assert "Rust" in str(error), error
    else:
        raise AssertionError(what)
raises(NotImplementedError, conn.eval, "1")
raises(NotImplementedError, conn.execute, "pass")
raises(ImportError, conn.root.getmodule, "os")
raises(ImportError, conn.root.getmodule, ("xml", "dom"))
assert not hasattr(conn.modules, "os")
assert conn.builtins is None
assert len(conn.namespace) == 0
assert conn.root.get_service_name() == "CLASSIC"
conn.close()
print("done")
"#;

#[tokio::test]
async fn python_connects_to_the_rust_end_and_is_refused_in_words() {
    let server = Server::bind("tcp://127.0.0.1:0", ClassicService)
        .await
        .expect("a free port");
    let port = server.port().expect("TCP").to_string();
    for version in [RPYC, RPYC_5] {
        let port = port.clone();
        let run = move || {
            let command = Script::Text(CHECKS).command_of(version, &[&port]);
            run_within(std::time::Duration::from_secs(30), command)
        };
        let output = soon(tokio::task::spawn_blocking(run))
            .await
            .expect("it ends in time");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success() && out == "done\n", "{out}{err}");
    }
}
