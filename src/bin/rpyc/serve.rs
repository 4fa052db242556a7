//! `rpyc serve`: the built-in service on any number of endpoints, until a signal ends it.

use std::time::Duration;

use clap::Args;
use rpyc::{
    Chain, Connection, Endpoint, Listener, Server, ServerConfig, StreamError,
    endpoint::parse_duration, protocol::Limits,
};

use crate::{
    Failure, builtin, layers,
    listening::{announce, cannot_listen},
    signals::Signals,
};

/// Serves a built-in service
///
/// It has add(a, b), echo(value), upper(text), sleep(seconds), blob(n) and fail(message). One line for each endpoint says when
/// it can be used. SIGTERM and SIGINT let the calls that are under way finish; a second one ends at once.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Where to listen: tcp:// or tls:// (port 0 for any free one), unix:, or stdio: alone
    #[arg(long, value_name = "ENDPOINT", required = true, num_args = 1..)]
    listen: Vec<String>,
    #[command(flatten)]
    layers: layers::Arguments,
    /// How long calls that are under way may take to finish: 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    /// Listens where other machines can connect, too, without TLS that wants a certificate of each client and without a key for encryption
    #[arg(long)]
    insecure: bool,
}

const HELP: &str = "\
Examples:
  rpyc serve --listen tcp://127.0.0.1:18861
  rpyc serve --listen tcp://[::1]:0 unix:/tmp/rpyc.sock --drain 1m
  rpyc serve --listen tcp://127.0.0.1:18861 --layer snappy --layer monitor
  rpyc serve --listen 'tls://0.0.0.0:18821?cert=server.crt&key=server.key&ca=clients.crt'
  rpyc call 'exec:rpyc serve --listen stdio:' add 1 2

From Python:
  import rpyc
  rpyc.connect(\"127.0.0.1\", 18861).root.add(1, 2)";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    if let [only] = &arguments.listen[..]
        && only == STDIO
    {
        return serve_stdio(&mut signals, arguments).await;
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for text in &arguments.listen {
        if text == STDIO {
            return Err(Failure::Usage(
                "stdio: cannot be served beside other endpoints".into(),
            ));
        }
        let endpoint: Endpoint = text
            .parse()
            .map_err(|error: StreamError| cannot_listen(error.into()))?;
        let guarded = endpoint.is_guarded() || arguments.layers.are_guarded();
        if !endpoint.is_local() && !guarded && !arguments.insecure {
            let danger = match endpoint.scheme() {
                "tls" => {
                    "whoever connects can call, since no certificate that a CA vouches for is wanted of clients"
                }
                _ => "whoever connects can call, and nothing is encrypted",
            };
            return Err(Failure::Usage(format!(
                "refusing to listen on {endpoint}: other machines could connect, and {danger}. Give a loopback address, a unix socket, \
                 tls:// with ca or --layer encrypt:KEYFILE, or --insecure if that is what you want"
            )));
        }
        arguments
            .layers
            .check_sessions(&endpoint, "--layer resume:insecure")?;
        endpoints.push(endpoint);
    }
    let config = ServerConfig::default().layers(arguments.layers.layers()?);
    let server = Server::bind_with(&endpoints, builtin::service(), config)
        .await
        .map_err(cannot_listen)?;
    for (endpoint, listener) in endpoints.iter().zip(server.listeners()) {
        announce(endpoint, listener.local_address())?;
    }
    signals.next().await;
    tracing::info!(connections = server.connections(), "draining");
    let listeners = server.listeners().to_vec();
    let stopped = async {
        // Clients of sessions could come back until now. The file of a unix socket goes with its listener.
        listeners.iter().for_each(Listener::stop);
        for listener in &listeners {
            listener.stopped().await;
        }
    };
    let drained = server.drain(arguments.drain);
    if !signals.unless_after(drained, stopped).await {
        eprintln!("rpyc: calls were cut off after {:?}", arguments.drain);
    }
    Ok(())
}

const STDIO: &str = "stdio:";

/// Standard output belongs to the protocol here: nothing else may be printed.
async fn serve_stdio(signals: &mut Signals, arguments: &Arguments) -> Result<(), Failure> {
    let chain = Chain::new(Endpoint::stdio()).layers(arguments.layers.layers()?);
    let channel = chain.connect().await?;
    let connection = Connection::serve(channel, builtin::service(), Limits::default());
    let limit = arguments.drain;
    tokio::select! {
        () = connection.ended() => return Ok(()),
        _ = signals.next() => {}
    }
    let drained = tokio::time::timeout(limit, connection.drain());
    if signals.unless(drained).await.is_err() {
        eprintln!("rpyc: calls were cut off after {limit:?}");
        connection.abort();
    }
    Ok(())
}
