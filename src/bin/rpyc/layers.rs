//! `--layer`: what stands between the application and the socket, for every command that has a connection.

use std::str::FromStr;

use clap::Args;
use rpyc::{Chain, Channel, Endpoint, LayerSpec, Layers, layers::LayerError};

use crate::Failure;

/// The layers of a channel.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Arguments {
    /// A layer of the channel, from the application to the socket: zlib:9, snappy, batch:20,50ms, liveness:15s, resume, encrypt:KEYFILE, buffer:32768, monitor
    #[arg(long = "layer", value_name = "LAYER")]
    layers: Vec<LayerSpec>,
}

impl Arguments {
    /// The layers in the order in which they were given.
    pub(crate) fn layers(&self) -> Result<Layers, Failure> {
        Layers::from_specs(&self.layers).map_err(usage)
    }

    /// The same, with resumable sessions also where whoever reads along can take them over.
    pub(crate) fn with_insecure_resume(&self) -> Result<Layers, Failure> {
        let mut layers = self.layers.clone();
        let Some(resume) = layers
            .iter_mut()
            .find(|layer| layer.to_string() == "resume")
        else {
            let what = "--insecure-resume is of no use without --layer resume";
            return Err(Failure::Usage(what.into()));
        };
        *resume = LayerSpec::from_str("resume:insecure").map_err(usage)?;
        Layers::from_specs(&layers).map_err(usage)
    }

    /// True when nobody is let in without a key.
    pub(crate) fn are_guarded(&self) -> bool {
        self.layers.iter().any(LayerSpec::is_guarded)
    }

    /// Refuses sessions that can be taken over by whoever reads along: each connection would be refused.
    pub(crate) fn check_sessions(&self, endpoint: &Endpoint, way_out: &str) -> Result<(), Failure> {
        let is_readable = !self.are_guarded() && !matches!(endpoint.scheme(), "tls" | "unix");
        if is_readable
            && self
                .layers
                .iter()
                .any(|layer| layer.to_string() == "resume")
        {
            return Err(Failure::Usage(format!(
                "refusing to resume sessions over {endpoint}: whoever can read along could take them over. Give --layer encrypt:KEYFILE, \
                 tls://, a unix socket, or {way_out} if that is what you want"
            )));
        }
        Ok(())
    }

    /// Connects to an endpoint with these layers.
    pub(crate) async fn connect(&self, endpoint: &str) -> Result<Channel, Failure> {
        self.check_sessions(&endpoint.parse()?, "--layer resume:insecure")?;
        let chain = Chain::to(endpoint)?.layers(self.layers()?);
        Ok(chain.connect().await?)
    }
}

fn usage(error: LayerError) -> Failure {
    Failure::Usage(error.to_string())
}
