//! The tunnels: two processes each, from a port to the target.

use std::{fs, path::Path, rc::Rc};

use crate::{
    certificates::{Ca, Folder, Pair},
    daemons::Daemon,
    traffic::Target,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rpyc");

/// A way to the target: its port, or the port of a tunnel to it.
pub(crate) struct Route {
    /// The end that programs connect to, and the one that connects to the target.
    near: Option<Daemon>,
    _far: Option<Daemon>,
    target: u16,
}

impl Route {
    pub(crate) fn port(&self) -> u16 {
        self.near.as_ref().map_or(self.target, |near| near.port)
    }

    /// The far end leads to `target`, and the near end to the far one.
    fn through(
        target: u16,
        far: impl FnOnce(u16) -> Option<Daemon>,
        near: impl FnOnce(u16) -> Option<Daemon>,
    ) -> Option<Rc<Self>> {
        let far = far(target)?;
        Some(Rc::new(Self {
            near: Some(near(far.port)?),
            _far: Some(far),
            target,
        }))
    }
}

/// All there are. The peers may not be installed.
pub(crate) struct Routes {
    pub(crate) direct: Rc<Route>,
    pub(crate) plain: Rc<Route>,
    pub(crate) encrypt: Rc<Route>,
    pub(crate) snappy: Rc<Route>,
    pub(crate) tls: Rc<Route>,
    pub(crate) spiped: Option<Rc<Route>>,
    pub(crate) stunnel: Option<Rc<Route>>,
    _folder: Folder,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let target = Target::shared().port;
        let key = folder.path("key");
        let made = std::process::Command::new(PROGRAM)
            .arg("keygen")
            .arg(&key)
            .output()
            .expect("it can be started");
        assert!(made.status.success(), "{made:?}");
        let ca = Ca::new(&folder, "ca");
        let pair = ca.issue("server", &["localhost"]);
        let encrypt = format!("encrypt:{}", key.display());
        let root = folder.path("");
        let ours = |far: &str, near: &str, layers: &[&str]| {
            Route::through(
                target,
                |to| {
                    rpyc(
                        &root,
                        "server",
                        far,
                        &format!("tcp://127.0.0.1:{to}"),
                        layers,
                    )
                },
                |to| {
                    let to = near.replace("PORT", &to.to_string());
                    rpyc(&root, "client", "tcp://127.0.0.1:PORT", &to, layers)
                },
            )
            .expect("our own program is there")
        };
        let tcp = "tcp://127.0.0.1:PORT";
        Self {
            direct: Rc::new(Route {
                near: None,
                _far: None,
                target,
            }),
            plain: ours(tcp, tcp, &[]),
            encrypt: ours(tcp, tcp, &[&encrypt]),
            snappy: ours(tcp, tcp, &["snappy", &encrypt]),
            tls: ours(
                &format!("tls://127.0.0.1:PORT?{}", pair.settings()),
                &format!("tls://localhost:PORT?{}", ca.setting()),
                &[],
            ),
            spiped: Route::through(
                target,
                |to| spiped(&root, "-d", to, &key),
                |to| spiped(&root, "-e", to, &key),
            ),
            stunnel: Route::through(
                target,
                |to| stunnel_server(&root, to, &pair),
                |to| stunnel_client(&root, to, &ca),
            ),
            _folder: folder,
        }
    }
}

fn rpyc(folder: &Path, end: &str, listen: &str, to: &str, layers: &[&str]) -> Option<Daemon> {
    Daemon::start(folder, PROGRAM, |port| {
        let listen = listen.replace("PORT", &port.to_string());
        let mut words: Vec<String> = ["tunnel", end, "--listen", &listen, "--to", to]
            .map(String::from)
            .into();
        for layer in layers {
            words.extend(["--layer".into(), String::from(*layer)]);
        }
        words
    })
}

fn spiped(folder: &Path, direction: &str, to: u16, key: &Path) -> Option<Daemon> {
    Daemon::start(folder, "spiped", |port| {
        let (source, target) = (format!("[127.0.0.1]:{port}"), format!("[127.0.0.1]:{to}"));
        let key = key.display().to_string();
        ["-F", direction, "-s", &source, "-t", &target, "-k", &key]
            .map(String::from)
            .into()
    })
}

/// What both ends of stunnel are told: nothing is set but what the others do, too.
const STUNNEL: &str =
    "foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[tunnel]\n";

fn stunnel_server(folder: &Path, to: u16, pair: &Pair) -> Option<Daemon> {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let settings = format!("cert = {certificate}\nkey = {key}\n");
    stunnel(folder, "server", &settings, to)
}

fn stunnel_client(folder: &Path, to: u16, ca: &Ca<'_>) -> Option<Daemon> {
    let ca = ca.certificate.display();
    let settings =
        format!("client = yes\nverifyChain = yes\nCAfile = {ca}\ncheckHost = localhost\n");
    stunnel(folder, "client", &settings, to)
}

fn stunnel(folder: &Path, name: &str, settings: &str, to: u16) -> Option<Daemon> {
    Daemon::start(folder, "stunnel", |port| {
        let text =
            format!("{STUNNEL}accept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{to}\n{settings}");
        let config = folder.join(format!("stunnel-{name}-{port}.conf"));
        fs::write(&config, text).expect("a temporary file");
        vec![config.display().to_string()]
    })
}
