//! Pools over chains of every sort: layers, TLS, and ways through a proxy.

use std::{sync::Arc, time::Duration};

use rpyc_actors::{
    Chain, Endpoint, Key, Layers, Listener, ListenerConfig, StreamPool, TlsConfig,
    codec::EncryptConfig,
    pool::{PoolConfig, Retired},
};
use tokio::sync::broadcast;

use crate::{
    certificates::{Ca, Folder},
    channels::ask,
    daemons::Daemon,
    support::{until, within},
};

/// Sends back what comes over such channels, until it is told to reset them all.
struct Server {
    listener: Listener,
    resets: broadcast::Sender<()>,
}

impl Server {
    async fn start(endpoint: Endpoint, layers: Layers) -> Self {
        let resets = broadcast::Sender::new(1);
        let told = resets.clone();
        let accept = move |stream| {
            let mut told = told.subscribe();
            layers.accept(stream, move |channel| {
                actix_rt::spawn(async move {
                    let echo = async {
                        while let Ok(Some(frame)) = channel.recv().await {
                            // A client that is gone is seen by the next receive.
                            let _ = channel.send(frame).await;
                        }
                    };
                    tokio::select! {
                        () = echo => {}
                        _ = told.recv() => channel.abort(),
                    }
                });
            });
        };
        let binding = Listener::bind(&endpoint, ListenerConfig::default(), accept);
        Self {
            listener: within("binding", binding).await.expect("a free port"),
            resets,
        }
    }

    fn port(&self) -> u16 {
        self.listener.port().expect("TCP")
    }
}

fn plain() -> Endpoint {
    "tcp://127.0.0.1:0".parse().expect("an endpoint")
}

/// Eight tasks over three connections, before and behind the loss of all of them.
async fn serves(server: &Server, chain: Chain) {
    let pool = StreamPool::of(chain, PoolConfig::default().max_size(3).min_idle(3));
    within("warming up", pool.warm_up())
        .await
        .expect("the server answers");
    for round in 0..2 {
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for number in 0..30 {
                        let channel = pool.get().await.expect("one comes in time");
                        let question = round * 1000 + task * 100 + number;
                        assert!(ask(&channel, question).await, "what is lent works");
                    }
                })
            })
            .collect();
        for task in tasks {
            within("asking", task).await.expect("right answers");
        }
        let lost = pool.stats().retired.of(Retired::Broken);
        assert_eq!(lost, round * 3, "in round {round}");
        if round == 0 {
            server.resets.send(()).expect("there are connections");
            until("they are noticed and replaced", || {
                let stats = pool.stats();
                stats.retired.of(Retired::Broken) == 3 && stats.idle == 3
            })
            .await;
        }
    }
    assert_eq!(pool.stats().in_use, 0);
    let drained = within("draining", pool.drain(Duration::from_secs(10))).await;
    assert!(drained.is_clean(), "{drained:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_chains_are_pooled() {
    let layers = || {
        let config = EncryptConfig::new(Arc::new(Key::new([7; 32])));
        let layers = Layers::parse(["snappy"]).expect("a layer");
        layers.encrypt(config)
    };
    let server = Server::start(plain(), layers()).await;
    let chain = Chain::to(&format!("tcp://127.0.0.1:{}", server.port()));
    serves(&server, chain.expect("an endpoint").layers(layers())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_chains_are_pooled() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let (own, client) = (ca.issue("server", &["localhost"]), ca.issue("client", &[]));
    let tls = TlsConfig::default()
        .certificate(own.certificate.as_path(), own.key.as_path())
        .ca(ca.certificate.as_path());
    let server = Server::start(Endpoint::tls("127.0.0.1", 0, tls), Layers::new()).await;
    let tls = TlsConfig::default()
        .certificate(client.certificate.as_path(), client.key.as_path())
        .ca(ca.certificate.as_path());
    let endpoint = Endpoint::tls("localhost", server.port(), tls);
    serves(&server, Chain::new(endpoint)).await;
}

async fn serves_via(scheme: &str, proxy: Option<Daemon>) {
    let Some(proxy) = proxy else { return };
    let server = Server::start(plain(), Layers::new()).await;
    let (port, way) = (server.port(), proxy.port);
    let text = format!("tcp://127.0.0.1:{port}?via={scheme}://127.0.0.1:{way}");
    serves(&server, Chain::to(&text).expect("an endpoint")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_through_proxies_are_pooled() {
    let folder = Folder::new();
    let here = folder.path("");
    serves_via("socks5", Daemon::microsocks(&here, None)).await;
    serves_via("http", Daemon::tinyproxy(&here, None)).await;
}
