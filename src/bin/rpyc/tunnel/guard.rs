//! What a tunnel refuses unless `--insecure` is given: traffic that others could reach or read.

use rpyc::Endpoint;

use super::End;

const WORDS: &str = "or --insecure if that is what you want";

/// Refuses, in words, a plain side that is not on this machine, and a channel between machines that anybody can read.
pub(super) fn check(
    end: End,
    listen: &Endpoint,
    to: &Endpoint,
    is_sealed: bool,
) -> Result<(), String> {
    let (plain, channel) = match end {
        End::Client => (listen, to),
        End::Server => (to, listen),
    };
    if !plain.is_local() {
        return Err(match end {
            End::Client => format!(
                "refusing to listen on {plain}: other machines could connect, and use the tunnel. Give a loopback address or a unix \
                 socket, {WORDS}"
            ),
            End::Server => format!(
                "refusing to connect to {plain}: the way from here to there would be plain. Run the tunnel server on that machine and \
                 give a loopback address or a unix socket, {WORDS}"
            ),
        });
    }
    if is_sealed || channel.is_local() {
        return Ok(());
    }
    if channel.scheme() != "tls" {
        return Err(format!(
            "refusing to carry connections over {channel}: nothing would be encrypted. Give --layer encrypt:KEYFILE, tls://, a loopback \
             address, a unix socket, {WORDS}"
        ));
    }
    if end == End::Client && !channel.is_proven() {
        return Err(format!(
            "refusing to carry connections over {channel}: whoever stands on the way could pose as the server, read and change them. Give \
             verify=full, ca or pin:SHA256, {WORDS}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(end: End, listen: &str, to: &str, is_sealed: bool) -> Result<(), String> {
        let endpoint = |text: &str| text.parse().expect(text);
        check(end, &endpoint(listen), &endpoint(to), is_sealed)
    }

    #[test]
    fn the_plain_side_stays_on_this_machine() {
        let (far, near) = ("tcp://192.0.2.1:1", "tcp://127.0.0.1:1");
        for plain in [
            near,
            "tcp://[::1]:1",
            "tcp://localhost:1",
            "unix:/run/socket",
        ] {
            assert_eq!(checked(End::Client, plain, far, true), Ok(()));
            assert_eq!(checked(End::Server, far, plain, true), Ok(()));
        }
        for plain in [
            far,
            "tcp://0.0.0.0:1",
            "tcp://[::]:1",
            "tls://192.0.2.1:1",
            "tcp://127.0.0.1:1?via=socks5://192.0.2.1:1",
        ] {
            let client = checked(End::Client, plain, near, true).expect_err(plain);
            assert!(client.contains("other machines could connect"), "{client}");
            let server = checked(End::Server, near, plain, true).expect_err(plain);
            assert!(server.contains("would be plain"), "{server}");
        }
    }

    #[test]
    fn a_server_elsewhere_proves_who_it_is() {
        let near = "tcp://127.0.0.1:1";
        let anybody = "tls://192.0.2.1:1?verify=insecure";
        let said = checked(End::Client, near, anybody, false).expect_err(anybody);
        assert!(said.contains("could pose as the server"), "{said}");
        assert_eq!(checked(End::Client, near, anybody, true), Ok(()));
        let here = "tls://localhost:1?verify=insecure";
        assert_eq!(checked(End::Client, near, here, false), Ok(()));
        let tunnelled = "tls://localhost:1?verify=insecure&via=ssh://host";
        assert!(checked(End::Client, near, tunnelled, false).is_err());
    }

    #[test]
    fn a_channel_between_machines_is_sealed() {
        let near = "tcp://127.0.0.1:1";
        for (channel, is_sealed, is_fine) in [
            ("tcp://192.0.2.1:1", false, false),
            ("tcp://192.0.2.1:1", true, true),
            ("tcp://localhost:1?via=ssh://host", false, false),
            ("tls://192.0.2.1:1", false, true),
            ("tcp://127.0.0.1:1", false, true),
            ("unix:/run/socket", false, true),
        ] {
            let client = checked(End::Client, near, channel, is_sealed);
            assert_eq!(client.is_ok(), is_fine, "{channel}: {client:?}");
            let server = checked(End::Server, channel, near, is_sealed);
            assert_eq!(server.is_ok(), is_fine, "{channel}: {server:?}");
        }
    }
}
